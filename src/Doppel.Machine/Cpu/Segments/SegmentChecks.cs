using Doppel.Machine.Cpu.Mmu;

namespace Doppel.Machine.Cpu.Segments;

/// <summary>Limit, type and canonical checks of memory operands (Intel SDM vol. 3, 5.3, 5.5 and 5.3.1).</summary>
public static unsafe class SegmentChecks
{
    /// <summary>
    /// The linear address of an operand, after every check that segmentation makes. Throws #SS(0) for SS, else #GP(0).
    /// </summary>
    /// <param name="cpu">The vCPU.</param>
    /// <param name="seg">The segment, ES to GS.</param>
    /// <param name="offset">Effective address, already cut to the address size.</param>
    /// <param name="size">Bytes accessed, at least 1.</param>
    /// <param name="write">True for a write or a read-modify-write.</param>
    public static ulong Linear(VirtualCpu cpu, Segment seg, ulong offset, int size, bool write)
    {
        CpuState* s = cpu.State;
        SegmentRegister* register = s->SegmentAt(seg);
        if (s->Is64Bit)
        {
            ulong linear = seg >= Segment.Fs ? register->Base + offset : offset;
            if (!LinearMemory.IsCanonical(linear) || !LinearMemory.IsCanonical(linear + (uint)size - 1))
                throw Violation(cpu, seg);
            return linear;
        }

        offset &= 0xFFFFFFFF;
        // Real and virtual-8086 mode have no types: CS may be written there, whatever its stale rights say.
        if (!s->IsRealMode && !s->IsVirtual8086 && !IsAllowed(register->Attributes, write))
            throw Violation(cpu, seg);
        if (!IsInside(register->Limit, register->Attributes, offset, (uint)size))
            throw Violation(cpu, seg);
        return (register->Base + offset) & 0xFFFFFFFF;
    }

    /// <summary>True when all bytes from <paramref name="offset"/> on lie inside a segment's limit, expand-down included.</summary>
    public static bool IsInside(uint limit, SegmentAttributes attributes, ulong offset, uint size)
    {
        ulong last = offset + size - 1;
        const SegmentAttributes KindMask = SegmentAttributes.Code | SegmentAttributes.ExpandDownOrConforming;
        if ((attributes & KindMask) != SegmentAttributes.ExpandDownOrConforming)
            return last <= limit;
        return offset > limit && last <= ((attributes & SegmentAttributes.Big) != 0 ? 0xFFFFFFFFUL : 0xFFFFUL);
    }

    private static bool IsAllowed(SegmentAttributes attributes, bool write)
    {
        if ((attributes & SegmentAttributes.Unusable) != 0)
            return false;
        if ((attributes & SegmentAttributes.WritableOrReadable) == 0)
            return !write && (attributes & SegmentAttributes.Code) == 0;
        return !write || (attributes & SegmentAttributes.Code) == 0;
    }

    private static GuestFault Violation(VirtualCpu cpu, Segment seg) =>
        cpu.Fault(seg == Segment.Ss ? ExceptionVector.StackFault : ExceptionVector.GeneralProtection);
}
