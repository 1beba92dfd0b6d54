namespace Doppel.Machine.Cpu;

/// <summary>
/// The register state in which a boot loader hands a vCPU to a kernel: flat segments, interrupts off. Registers that
/// are not named here are zero.
/// </summary>
public sealed record CpuEntry
{
    /// <summary>Protected or long mode.</summary>
    public required CpuEntryMode Mode { get; init; }

    /// <summary>First instruction: a linear address.</summary>
    public required ulong Rip { get; init; }

    /// <summary>RAX.</summary>
    public ulong Rax { get; init; }

    /// <summary>RBX.</summary>
    public ulong Rbx { get; init; }

    /// <summary>RSI.</summary>
    public ulong Rsi { get; init; }

    /// <summary>RSP: a stack for kernels that expect one, else 0.</summary>
    public ulong Rsp { get; init; }

    /// <summary>Guest-physical address of the top page table; used in long mode only.</summary>
    public ulong Cr3 { get; init; }

    /// <summary>Guest-physical address of the global descriptor table.</summary>
    public ulong GdtBase { get; init; }

    /// <summary>Last valid byte offset in the table.</summary>
    public ushort GdtLimit { get; init; }

    /// <summary>Selector in CS.</summary>
    public ushort CodeSelector { get; init; }

    /// <summary>Selector in DS, ES, FS, GS and SS.</summary>
    public ushort DataSelector { get; init; }

    /// <summary>Selector in TR.</summary>
    public ushort TaskSelector { get; init; }
}

/// <summary>The mode in which a kernel is entered.</summary>
public enum CpuEntryMode
{
    /// <summary>32-bit protected mode without paging.</summary>
    Protected32,

    /// <summary>64-bit mode with PAE paging.</summary>
    Long64,
}
