using Doppel.Machine.Cpu;
using Doppel.Machine.Interrupts;

namespace Doppel.Engines.Tests.Guests;

/// <summary>An interrupt controller that hands over vectors in the order in which they were raised.</summary>
internal sealed class QueueApic : ILocalApic
{
    private readonly Queue<byte> _vectors = new();

    internal VirtualCpu? Cpu { get; set; }

    public byte Cr8 { get; set; }

    public ulong ApicBase => 0xFEE00900;

    public bool HasInterrupt => _vectors.Count != 0;

    public byte SipiVector { get; internal set; }

    public ulong TscDeadline { get => 0; set { } }

    internal void Raise(byte vector)
    {
        _vectors.Enqueue(vector);
        Cpu!.Signal(PendingEvents.Interrupt);
    }

    public bool TryWriteApicBase(ulong value) => false;

    public int Acknowledge()
    {
        int vector = _vectors.Dequeue();
        if (!HasInterrupt)
            Cpu!.ClearSignal(PendingEvents.Interrupt);
        return vector;
    }

    public bool TryReadMsr(uint index, out ulong value)
    {
        value = 0;
        return false;
    }

    public bool TryWriteMsr(uint index, ulong value) => false;

    public void Refresh()
    {
    }

    public void Init() => _vectors.Clear();
}
