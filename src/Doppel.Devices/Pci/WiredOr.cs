using Doppel.Machine.Interrupts;

namespace Doppel.Devices.Pci;

/// <summary>
/// An interrupt line that several devices share: high while any of them drives it. Any thread. An edge-triggered line such as ISA's
/// has an edge only when none drove it before, which drivers know: they serve all devices until none asks any more.
/// </summary>
/// <param name="output">The shared wire.</param>
public sealed class WiredOr(IInterruptLine output)
{
    private readonly Lock _lock = new();
    private int _asserted;

    /// <summary>Adds one device's wire.</summary>
    public IInterruptLine AddInput() => new Input(this);

    private void Change(int difference)
    {
        _asserted += difference;
        output.Set(_asserted > 0);
    }

    private sealed class Input(WiredOr owner) : IInterruptLine
    {
        private bool _level;

        public void Set(bool asserted)
        {
            // Held across the output so that two devices cannot overtake each other on it.
            lock (owner._lock)
            {
                if (asserted == _level)
                    return;
                _level = asserted;
                owner.Change(asserted ? 1 : -1);
            }
        }
    }
}
