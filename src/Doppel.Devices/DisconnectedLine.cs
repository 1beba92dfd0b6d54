using Doppel.Machine.Interrupts;

namespace Doppel.Devices;

/// <summary>An interrupt line that leads nowhere.</summary>
public sealed class DisconnectedLine : IInterruptLine
{
    /// <summary>The only instance needed: there is no state.</summary>
    public static readonly DisconnectedLine Instance = new();

    private DisconnectedLine()
    {
    }

    /// <inheritdoc/>
    public void Set(bool asserted)
    {
    }
}
