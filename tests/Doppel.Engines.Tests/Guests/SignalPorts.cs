using Doppel.Machine.Bus;
using Doppel.Machine.Cpu;

namespace Doppel.Engines.Tests.Guests;

/// <summary>
/// How a guest has something happen at an exact instruction. At offset 0 of the ports, a byte written is raised as an
/// interrupt; at 1, any write raises an NMI; at 2, the tenth byte raises interrupt 40h and all are kept. A read of the
/// memory window raises an NMI and gives the selector of the data segment.
/// </summary>
internal sealed class SignalPorts(QueueApic apic) : IIoRegion
{
    internal const byte Interrupt = 0x80;
    internal const byte Nmi = 0x81;
    internal const byte Sink = 0x82;
    internal const byte SinkVector = 0x40;

    internal List<byte> Sunk { get; } = [];

    public string Name => "signals";

    public ulong Read(ulong offset, int size)
    {
        apic.Cpu!.Signal(PendingEvents.Nmi);
        return EngineGuest.Data64;
    }

    public void Write(ulong offset, int size, ulong value)
    {
        if (offset == 0)
            apic.Raise((byte)value);
        else if (offset == 1)
            apic.Cpu!.Signal(PendingEvents.Nmi);
        else
            Keep((byte)value);
    }

    private void Keep(byte value)
    {
        Sunk.Add(value);
        if (Sunk.Count == 10)
            apic.Raise(SinkVector);
    }
}
