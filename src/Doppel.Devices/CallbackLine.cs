using Doppel.Machine.Interrupts;

namespace Doppel.Devices;

/// <summary>An interrupt line that hands each level to a delegate.</summary>
/// <param name="set">Receives the level; called on the thread that drives the line.</param>
public sealed class CallbackLine(Action<bool> set) : IInterruptLine
{
    /// <inheritdoc/>
    public void Set(bool asserted) => set(asserted);
}
