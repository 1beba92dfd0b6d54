using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace Doppel.Machine.Cpu.Mmu;

/// <summary>
/// One entry of the software TLB, seen from its first word: the others are in the other arrays of its table
/// (<see cref="TlbLayout"/>), so its size means nothing.
/// </summary>
[StructLayout(LayoutKind.Explicit)]
public unsafe struct TlbEntry
{
    /// <summary>Host address minus linear address.</summary>
    [FieldOffset(TlbLayout.Addend)]
    public ulong Addend;

    /// <summary>Tag for reads.</summary>
    [FieldOffset(TlbLayout.ReadTag)]
    public ulong ReadTag;

    /// <summary>Tag for writes: valid only when the page's dirty bit is set and nothing watches the page.</summary>
    [FieldOffset(TlbLayout.WriteTag)]
    public ulong WriteTag;

    /// <summary>Tag for instruction fetches.</summary>
    [FieldOffset(TlbLayout.ExecuteTag)]
    public ulong ExecuteTag;

    /// <summary>Linear address of the page, with bit 0 set when the entry holds a translation.</summary>
    [FieldOffset(TlbLayout.Page)]
    public ulong Page;

    /// <summary>Guest-physical address of the page with <see cref="TlbRights"/> in the low 12 bits.</summary>
    [FieldOffset(TlbLayout.Detail)]
    public ulong Detail;

    /// <summary>Guest-physical address of the page (A20 mask applied).</summary>
    public readonly ulong Physical => Detail & ~0xFFFUL;

    /// <summary>What the translation allows in this mode.</summary>
    public readonly TlbRights Rights => (TlbRights)(Detail & 0xFFF);

    /// <summary>The entry of a linear address in a table.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static TlbEntry* Of(void* table, ulong address) =>
        (TlbEntry*)((byte*)table + ((address >> (12 - 3)) & ((TlbLayout.HalfSize - 1UL) << 3)) + ((address >> (47 - 3 - TlbLayout.IndexBits)) & TlbLayout.HalfBytes));
}
