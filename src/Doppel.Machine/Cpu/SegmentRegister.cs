using System.Runtime.InteropServices;

namespace Doppel.Machine.Cpu;

/// <summary>
/// A segment register with its hidden part (Intel SDM vol. 3, 3.4.3): 24 bytes, fixed layout.
/// </summary>
[StructLayout(LayoutKind.Sequential)]
public struct SegmentRegister
{
    /// <summary>Base linear address.</summary>
    public ulong Base;

    /// <summary>Limit in bytes, already scaled by the granularity bit; the last valid offset of an expand-up segment.</summary>
    public uint Limit;

    /// <summary>Access rights; see <see cref="SegmentAttributes"/>.</summary>
    public SegmentAttributes Attributes;

    /// <summary>The visible selector.</summary>
    public ushort Selector;

    /// <summary>Keeps the size at 24 bytes.</summary>
    private ushort _padding1;

    private uint _padding2;

    /// <summary>Descriptor privilege level, 0 to 3.</summary>
    public readonly int Dpl => (int)((uint)Attributes >> 5) & 3;

    /// <summary>Descriptor type, bits 0 to 3 of the access byte.</summary>
    public readonly int Type => (int)Attributes & 15;

    /// <summary>True when the register holds a usable (non-null) segment.</summary>
    public readonly bool IsUsable => (Attributes & SegmentAttributes.Unusable) == 0;

    /// <summary>True when the given attribute bit is set.</summary>
    public readonly bool Has(SegmentAttributes bit) => (Attributes & bit) != 0;
}

/// <summary>
/// Access rights of a segment, laid out as bits 40 to 55 of its descriptor (without the limit bits),
/// as VMX and SVM store them; bit 16 marks a null segment.
/// </summary>
[Flags]
public enum SegmentAttributes : uint
{
    /// <summary>No bit.</summary>
    None = 0,

    /// <summary>Type bit 0: accessed (code and data).</summary>
    Accessed = 1 << 0,

    /// <summary>Type bit 1: writable (data) or readable (code).</summary>
    WritableOrReadable = 1 << 1,

    /// <summary>Type bit 2: expand-down (data) or conforming (code).</summary>
    ExpandDownOrConforming = 1 << 2,

    /// <summary>Type bit 3: code.</summary>
    Code = 1 << 3,

    /// <summary>S: a code or data segment, not a system one.</summary>
    CodeOrData = 1 << 4,

    /// <summary>Both bits of the descriptor privilege level.</summary>
    DplMask = 3 << 5,

    /// <summary>P: present.</summary>
    Present = 1 << 7,

    /// <summary>AVL: for system software.</summary>
    Available = 1 << 12,

    /// <summary>L: 64-bit code segment.</summary>
    Long = 1 << 13,

    /// <summary>D/B: default operand size 32 bits, or big stack.</summary>
    Big = 1 << 14,

    /// <summary>G: the limit counts 4 KiB units.</summary>
    Granularity = 1 << 15,

    /// <summary>The register holds a null selector (not a hardware descriptor bit).</summary>
    Unusable = 1 << 16,
}

/// <summary>Index of a segment register; the order is the architectural encoding.</summary>
public enum Segment
{
    /// <summary>ES.</summary>
    Es,

    /// <summary>CS.</summary>
    Cs,

    /// <summary>SS.</summary>
    Ss,

    /// <summary>DS.</summary>
    Ds,

    /// <summary>FS.</summary>
    Fs,

    /// <summary>GS.</summary>
    Gs,

    /// <summary>Local descriptor table register.</summary>
    Ldtr,

    /// <summary>Task register.</summary>
    Tr,
}

/// <summary>GDTR or IDTR.</summary>
[StructLayout(LayoutKind.Sequential)]
public struct DescriptorTableRegister
{
    /// <summary>Base linear address.</summary>
    public ulong Base;

    /// <summary>Last valid byte offset.</summary>
    public uint Limit;

    private uint _padding;
}
