using System.Runtime.InteropServices;

namespace Doppel.Machine.Cpu.Mmu;

/// <summary>What is known of one half of a TLB table. At <see cref="TlbLayout.Control"/> of the half; emitted code reads and writes it.</summary>
[StructLayout(LayoutKind.Sequential)]
public unsafe struct TlbControl
{
    /// <summary>Large regions are told apart by this many bits of the address from bit 22 on.</summary>
    public const int LargeBits = 12;

    /// <summary>The table's <see cref="TlbMode"/>. In the lower half only.</summary>
    public ulong Mode;

    /// <summary>Not zero when an entry may have been split from a large page.</summary>
    public ulong HasLarge;

    /// <summary>Not zero when an entry may be global.</summary>
    public ulong HasGlobal;

    /// <summary>Not zero when an entry may be other than global.</summary>
    public ulong HasLocal;

    /// <summary>A bit for each word of <see cref="Filled"/> that may be other than zero.</summary>
    public ulong FilledWords;

    /// <summary>Bits 30 to 35 of addresses that were split from pages of 1 GiB, as a set.</summary>
    public ulong HugeRegions;

    /// <summary>A bit for each entry that may be valid.</summary>
    public fixed ulong Filled[TlbLayout.HalfSize / 64];

    /// <summary>
    /// Bits 22 to 33 of addresses that were split from pages of 2 or 4 MiB, as a set: both kinds lie in one aligned 4 MiB.
    /// </summary>
    public fixed ulong LargeRegions[(1 << LargeBits) / 64];
}
