using Iced.Intel;

namespace Doppel.Machine.Cpu.HostInstructions;

/// <summary>
/// A decoded instruction in the form that <see cref="HostInstructionExecutor"/> executes. Independent of where the
/// instruction stands and (gathers aside) of its addressing form, so that equal instructions share one.
/// </summary>
public sealed unsafe class PreparedHostInstruction
{
    /// <summary>How it is carried out.</summary>
    public HostInstructionKind Kind { get; internal set; }

    /// <summary>The instruction as decoded (its first occurrence).</summary>
    public Instruction Instruction { get; internal init; }

    /// <summary>Bytes of its memory operand, 0 when it has none. An engine checks segment limits with it.</summary>
    public int MemorySize { get; internal set; }

    /// <summary>True when the memory operand is written.</summary>
    public bool WritesMemory { get; internal set; }

    /// <summary>True when the memory operand is read.</summary>
    public bool ReadsMemory { get; internal set; }

    /// <summary>
    /// True when the executor computes the addresses itself (gathers): the linear address given to it is ignored.
    /// </summary>
    public bool ComputesAddress => Kind == HostInstructionKind.Gather;

    /// <summary>True when <see cref="CpuState.Rip"/> must hold the instruction's own address (x87 keeps it as FIP).</summary>
    public bool NeedsInstructionPointer { get; internal set; }

    /// <summary>CR0 bits that must be clear.</summary>
    internal ulong ForbiddenCr0 { get; set; }

    /// <summary>CR0 bits that must be set.</summary>
    internal ulong RequiredCr0 { get; set; }

    /// <summary>CR4 bits that must be set.</summary>
    internal ulong RequiredCr4 { get; set; }

    /// <summary>XCR0 bits that must be set.</summary>
    internal ulong RequiredXcr0 { get; set; }

    /// <summary>RFLAGS.VM when the instruction does not exist in virtual-8086 mode.</summary>
    internal ulong ForbiddenFlags { get; set; }

    /// <summary>CR0.EM gives #UD (SSE, MMX) and not #NM (x87).</summary>
    internal bool EmulationIsInvalid { get; set; }

    /// <summary>Address bits that must be zero, else #GP.</summary>
    internal ulong AlignmentMask { get; set; }

    /// <summary>The operand is in the stack segment: a non-canonical address is #SS.</summary>
    internal bool IsStack { get; set; }

    /// <summary>VEX encoding: zeroes the upper half of the destination.</summary>
    internal bool IsVex { get; set; }

    /// <summary>The stub needs the status flags.</summary>
    internal bool ReadsFlags { get; set; }

    /// <summary>The stub returns status flags.</summary>
    internal bool WritesFlags { get; set; }

    /// <summary>The instruction obeys MXCSR and reports in it.</summary>
    internal bool UsesMxcsr { get; set; }

    /// <summary>The instruction changes a register of the MMX or x87 stack, or its control.</summary>
    internal bool IsMmx { get; set; }

    /// <summary>It updates FIP, FDP and FOP.</summary>
    internal bool SetsPointers { get; set; }

    /// <summary>Vector registers that the x87 path must copy back (MOVQ2DQ, CVTPI2PS), bit n for XMMn.</summary>
    internal uint VectorsWritten { get; set; }

    /// <summary>FOP: the low three bits of the first opcode byte and the ModRM byte.</summary>
    internal ushort Opcode { get; set; }

    /// <summary>Register numbers of operands 0 to 2 for what is done in C#.</summary>
    internal int Register0 { get; set; }

    /// <summary>See <see cref="Register0"/>.</summary>
    internal int Register1 { get; set; }

    /// <summary>See <see cref="Register0"/>.</summary>
    internal int Register2 { get; set; }

    /// <summary>Bytes of one element for masked moves and gathers.</summary>
    internal int ElementSize { get; set; }

    /// <summary>Bytes of the vector for masked moves and gathers.</summary>
    internal int VectorSize { get; set; }

    /// <summary>The stub.</summary>
    internal delegate* unmanaged[SuppressGCTransition]<CpuState*, byte*, ulong, byte*, ulong> Code { get; set; }
}
