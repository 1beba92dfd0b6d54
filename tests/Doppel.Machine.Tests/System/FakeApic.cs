using Doppel.Machine.Interrupts;

namespace Doppel.Machine.Tests.System;

/// <summary>A local APIC that remembers what it was told.</summary>
internal sealed class FakeApic : ILocalApic
{
    internal const ulong RefusedBase = 0xDEAD000;

    internal List<ulong> Deadlines { get; } = [];

    internal Dictionary<uint, ulong> Msrs { get; } = [];

    public byte Cr8 { get; set; }

    public ulong ApicBase { get; private set; } = 0xFEE00900;

    public bool HasInterrupt => false;

    public byte SipiVector => 0;

    public ulong TscDeadline
    {
        get => Deadlines.Count == 0 ? 0 : Deadlines[^1];
        set => Deadlines.Add(value);
    }

    public bool TryWriteApicBase(ulong value)
    {
        if (value == RefusedBase)
            return false;
        ApicBase = value;
        return true;
    }

    public int Acknowledge() => -1;

    public bool TryReadMsr(uint index, out ulong value) => Msrs.TryGetValue(index, out value);

    public bool TryWriteMsr(uint index, ulong value)
    {
        if (!Msrs.ContainsKey(index))
            return false;
        Msrs[index] = value;
        return true;
    }

    public void Refresh()
    {
    }

    public void Init() => Msrs.Clear();
}
