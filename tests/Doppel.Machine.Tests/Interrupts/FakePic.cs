using Doppel.Machine.Interrupts;

namespace Doppel.Machine.Tests.Interrupts;

/// <summary>A pair of 8259s that asks for one vector until it is acknowledged.</summary>
internal sealed class FakePic : IExternalInterruptSource
{
    private int _vector = -1;

    public IInterruptLine? Output { get; set; }

    public bool IsAsserted => _vector >= 0;

    public void Request(int vector)
    {
        _vector = vector;
        Output?.Set(true);
    }

    public int Acknowledge()
    {
        int vector = _vector;
        _vector = -1;
        Output?.Set(false);
        return vector;
    }
}
