namespace Doppel.Machine.Cpu.Mmu;

/// <summary>
/// The memory layout of the software TLB, which emitted code depends on. A table (<see cref="CpuState.Tlb"/>) consists of
/// arrays of 8-byte elements, <see cref="ArrayBytes"/> apart. In each array the lower half of the linear addresses comes
/// first, then the upper one; entry i of a table is element i of every array. The address of a table's lower half is that
/// of the table, its upper half begins <see cref="HalfBytes"/> later.
/// </summary>
/// <remarks>
/// A tag is the negated linear address of its page: an access of n bytes at va hits when (tag + va + n - 1) is below 4096,
/// which sends accesses across a page end to the slow path and can be computed by LEA without touching flags. A tag that
/// must not match is that of a page with another index, not the next one (an access may reach into that). Zero serves but
/// for the first entry of the lower half and the last of the upper, which it would match.
/// </remarks>
public static class TlbLayout
{
    /// <summary>Bits of a linear address from bit 12 on that select an entry; bit 47 selects the half.</summary>
    public const int IndexBits = 11;

    /// <summary>Entries of a half.</summary>
    public const int HalfSize = 1 << IndexBits;

    /// <summary>Bytes of one half of an array; a multiple of the page size, so that halves can be mapped.</summary>
    public const int HalfBytes = HalfSize * sizeof(ulong);

    /// <summary>Distance of the arrays.</summary>
    public const int ArrayBytes = 2 * HalfBytes;

    /// <summary>The mask by which PEXT makes an index of a linear address.</summary>
    public const ulong IndexMask = ((HalfSize - 1UL) << 12) | (1UL << 47);

    /// <summary>Host address minus linear address.</summary>
    public const int Addend = 0;

    /// <summary>Tags for reads.</summary>
    public const int ReadTag = ArrayBytes;

    /// <summary>Tags for writes: valid only when the page's dirty bit is set and nothing watches the page.</summary>
    public const int WriteTag = 2 * ArrayBytes;

    /// <summary>Tags for instruction fetches.</summary>
    public const int ExecuteTag = 3 * ArrayBytes;

    /// <summary>Linear address of the page with bit 0 set; zero when the entry is empty.</summary>
    public const int Page = 4 * ArrayBytes;

    /// <summary>Guest-physical address of the page (A20 mask applied), with <see cref="TlbRights"/> in the low 12 bits.</summary>
    public const int Detail = 5 * ArrayBytes;

    /// <summary>What is known of a half as a whole: a <see cref="TlbControl"/>.</summary>
    public const int Control = 6 * ArrayBytes;

    /// <summary>Bytes of a table.</summary>
    public const int TableBytes = 7 * ArrayBytes;

    /// <summary>Arrays of a table, the control included.</summary>
    internal const int Arrays = TableBytes / ArrayBytes;
}
