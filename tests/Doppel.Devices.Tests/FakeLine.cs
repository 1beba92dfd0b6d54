using Doppel.Machine.Interrupts;

namespace Doppel.Devices.Tests;

/// <summary>A wire that remembers its level and counts its rises.</summary>
public sealed class FakeLine : IInterruptLine
{
    public bool Level { get; private set; }

    public int Rises { get; private set; }

    public void Set(bool asserted)
    {
        if (asserted && !Level)
            Rises++;
        Level = asserted;
    }
}
