namespace Doppel.Machine.Cpu;

/// <summary>Where a vCPU is and in which mode: a copy, for messages and traces.</summary>
public sealed record CpuLocation
{
    /// <summary>Index of the vCPU.</summary>
    public required int Cpu { get; init; }

    /// <summary>Instruction pointer: an offset in CS.</summary>
    public required ulong Rip { get; init; }

    /// <summary>Selector in CS.</summary>
    public required ushort CodeSelector { get; init; }

    /// <summary>Base of CS.</summary>
    public required ulong CodeBase { get; init; }

    /// <summary>RSP.</summary>
    public required ulong StackPointer { get; init; }

    /// <summary>CR0.</summary>
    public required ulong Cr0 { get; init; }

    /// <summary>CR2: the linear address of the last page fault.</summary>
    public required ulong Cr2 { get; init; }

    /// <summary>CR3.</summary>
    public required ulong Cr3 { get; init; }

    /// <summary>CR4.</summary>
    public required ulong Cr4 { get; init; }

    /// <summary>EFER.</summary>
    public required ulong Efer { get; init; }

    /// <summary>RFLAGS.</summary>
    public required ulong Flags { get; init; }

    /// <summary>CPL, 0 to 3.</summary>
    public required int PrivilegeLevel { get; init; }

    /// <summary>The mode in words, for example "64-bit mode".</summary>
    public required string Mode { get; init; }

    /// <summary>Instructions retired since reset.</summary>
    public required ulong InstructionsRetired { get; init; }

    /// <inheritdoc/>
    public override string ToString() =>
        $"vCPU {Cpu}, {Mode}, CPL {PrivilegeLevel}, CS:RIP {CodeSelector:x4}:{Rip:x16}, RSP {StackPointer:x16}, CR2 {Cr2:x16}, CR3 {Cr3:x}, CR0 {Cr0:x}";
}
