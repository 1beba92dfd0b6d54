using Doppel.Machine.Cpu.Mmu;

namespace Doppel.Machine.Cpu.System;

/// <summary>RDFSBASE, RDGSBASE, WRFSBASE and WRGSBASE (Intel SDM vol. 2).</summary>
public static unsafe class FsGsBase
{
    /// <summary>RDFSBASE or RDGSBASE; the caller cuts the value to the operand's size. #UD without CR4.FSGSBASE or outside 64-bit mode.</summary>
    public static ulong Read(VirtualCpu cpu, Segment segment)
    {
        CheckEnabled(cpu);
        return cpu.State->SegmentAt(segment)->Base;
    }

    /// <summary>WRFSBASE or WRGSBASE; the caller zero-extends a 32-bit operand. #UD as for reading, #GP for a non-canonical value.</summary>
    public static void Write(VirtualCpu cpu, Segment segment, ulong value)
    {
        CheckEnabled(cpu);
        if (!LinearMemory.IsCanonical(value))
            throw cpu.GeneralProtection();
        cpu.State->SegmentAt(segment)->Base = value;
    }

    private static void CheckEnabled(VirtualCpu cpu)
    {
        if (!cpu.State->Is64Bit || (cpu.State->Cr4 & Cr4.Fsgsbase) == 0)
            throw cpu.InvalidOpcode();
    }
}
