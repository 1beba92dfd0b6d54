using System.Runtime.InteropServices;

namespace Doppel.Machine.Cpu.Interpreter;

/// <summary>
/// One decoded instruction, 64 bytes of unmanaged memory. Register operands are byte offsets into <see cref="CpuState"/>,
/// so AH is the offset of RAX plus one and an absent base or index is the offset of a zero.
/// </summary>
[StructLayout(LayoutKind.Sequential)]
internal unsafe struct DecodedOp
{
    /// <summary>
    /// Executes the instruction and returns the next operation of the block, the first of a chained block, or null when
    /// the block is left with <see cref="CpuState.Rip"/> set. The first two arguments are what every handler needs; the
    /// third leads to everything else.
    /// </summary>
    internal delegate*<CpuState*, DecodedOp*, Interpreter, DecodedOp*> Handler;

    /// <summary>Immediate operand, sign-extended where the instruction does so; for a branch, the displacement.</summary>
    internal ulong Immediate;

    /// <summary>Displacement of the memory operand; for RIP-relative ones, relative to the page.</summary>
    internal ulong Displacement;

    /// <summary>A branch: the operation that it leads to in the same page, once resolved.</summary>
    internal DecodedOp* Target;

    /// <summary>Offset of the first register operand.</summary>
    internal ushort Destination;

    /// <summary>Offset of the second register operand.</summary>
    internal ushort Source;

    /// <summary>Offset of the base register of the memory operand.</summary>
    internal ushort Base;

    /// <summary>Offset of its index register.</summary>
    internal ushort Index;

    /// <summary>Offset of the base address of its segment, or of a zero.</summary>
    internal ushort SegmentBase;

    /// <summary>Offset of the instruction in its page (of linear addresses).</summary>
    internal ushort PageOffset;

    /// <summary>How many instructions of the block come before.</summary>
    internal ushort Position;

    /// <summary>A number whose meaning the handler knows: a register number, a host instruction.</summary>
    internal int Extra;

    /// <summary>Shift count for the index register.</summary>
    internal byte Scale;

    /// <summary>How the effective address becomes a linear one.</summary>
    internal AddressKind Kind;

    /// <summary>Segment of the memory operand.</summary>
    internal Segment Segment8 { readonly get => (Segment)_segment; set => _segment = (byte)value; }

    private byte _segment;

    /// <summary>Length in bytes, 1 to 15; 0 for the mark at the end of a block.</summary>
    internal byte Length;

    /// <summary>Operand size in bytes where the handler serves several.</summary>
    internal byte OperandSize;

    /// <summary>Width of the default address size in bytes, for string instructions, LOOP and JCXZ.</summary>
    internal byte AddressSize;
}

/// <summary>How an effective address becomes a linear one.</summary>
internal enum AddressKind : byte
{
    /// <summary>64-bit mode, 64-bit address: add the segment base (zero but for FS and GS).</summary>
    Flat,

    /// <summary>64-bit mode with a 32-bit address: truncate first.</summary>
    Flat32,

    /// <summary>16-bit address with segment checks.</summary>
    Segmented16,

    /// <summary>32-bit address with segment checks.</summary>
    Segmented32,
}
