using Doppel.Machine.Cpu.Mmu;

namespace Doppel.Machine.Cpu.System;

/// <summary>An image of extended state of which only the marked parts go to guest memory; the rest there stays as it is.</summary>
internal unsafe ref struct SaveImage
{
    private const int Granule = 8;
    private UInt128 _marked;

    internal SaveImage(byte* bytes) => Bytes = bytes;

    internal byte* Bytes { get; }

    /// <summary>Marks bytes to be written; offset and length are multiples of 8, the end is at most 1024.</summary>
    internal void Mark(int offset, int length) =>
        _marked |= ((UInt128.One << (length / Granule)) - 1) << (offset / Granule);

    /// <summary>Throws what a write to the whole range would throw, without writing.</summary>
    internal static void Probe(VirtualCpu cpu, ulong address, int length, bool isStack)
    {
        bool isLong = cpu.State->IsLongMode;
        if (isLong && (!LinearMemory.IsCanonical(address) || !LinearMemory.IsCanonical(address + (uint)length - 1)))
            throw cpu.Fault(isStack ? ExceptionVector.StackFault : ExceptionVector.GeneralProtection);
        for (ulong page = address; page - address < (uint)length; page = (page | 0xFFF) + 1)
            _ = cpu.Tlb.Translate(isLong ? page : (uint)page, AccessKind.Write);
    }

    /// <summary>Writes the marked bytes. The caller has probed the range, so that no write faults.</summary>
    internal readonly void WriteTo(VirtualCpu cpu, ulong address, bool isStack)
    {
        UInt128 rest = _marked;
        int position = 0;
        while (rest != 0)
        {
            int skip = (int)UInt128.TrailingZeroCount(rest);
            rest >>= skip;
            position += skip;
            int run = (int)UInt128.TrailingZeroCount(~rest);
            cpu.Linear.WriteBlock(
                address + (uint)(position * Granule), new ReadOnlySpan<byte>(Bytes + (position * Granule), run * Granule), isStack);
            rest = run == 128 ? 0 : rest >> run;
            position += run;
        }
    }
}
