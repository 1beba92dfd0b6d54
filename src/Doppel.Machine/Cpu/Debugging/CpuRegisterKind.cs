namespace Doppel.Machine.Cpu.Debugging;

/// <summary>The registers that a debugger can name; some kinds have an index.</summary>
public enum CpuRegisterKind
{
    /// <summary>A general register, 0 (RAX) to 15: 8 bytes.</summary>
    General,

    /// <summary>RIP, an offset in CS: 8 bytes.</summary>
    InstructionPointer,

    /// <summary>RFLAGS, its low half: 4 bytes.</summary>
    Flags,

    /// <summary>The selector in a segment register, by <see cref="Segment"/>: 4 bytes.</summary>
    Selector,

    /// <summary>The base of a segment register, by <see cref="Segment"/>: 8 bytes.</summary>
    SegmentBase,

    /// <summary>IA32_KERNEL_GS_BASE: 8 bytes.</summary>
    KernelGsBase,

    /// <summary>CR0, CR2, CR3, CR4 or CR8: 8 bytes.</summary>
    Control,

    /// <summary>IA32_EFER: 8 bytes.</summary>
    Efer,

    /// <summary>ST(0) to ST(7): 10 bytes.</summary>
    X87,

    /// <summary>FCW, FSW, FTW (two bits a register), FCS, FIP, FDS, FDP and FOP, 0 to 7: 4 bytes.</summary>
    X87Control,

    /// <summary>XMM0 to XMM15: 16 bytes.</summary>
    Xmm,

    /// <summary>The upper half of YMM0 to YMM15: 16 bytes.</summary>
    YmmHigh,

    /// <summary>MXCSR: 4 bytes.</summary>
    Mxcsr,
}
