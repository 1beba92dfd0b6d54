using System.Runtime.InteropServices;

namespace Doppel.Machine.Cpu.Interpreter;

/// <summary>
/// The decoded code of one guest-physical page: for each mode a table from the offset of an instruction to the first
/// operation of a block, and which bytes of the page were decoded. Unmanaged memory, freed with its cache.
/// </summary>
[StructLayout(LayoutKind.Sequential)]
internal unsafe struct CodePage
{
    /// <summary>Number of <see cref="CodeMode"/> values.</summary>
    internal const int Modes = 4;

    /// <summary>One table of 4096 arena indices a mode, or null; 0 in a table means not decoded.</summary>
    internal fixed ulong Tables[Modes];

    /// <summary>A bit for each byte that some block was decoded from.</summary>
    internal fixed ulong Decoded[64];

    /// <summary>Guest-physical address of the page.</summary>
    internal ulong Physical;

    /// <summary>Arena index of the newest block of this page; each block starts with a link to the one before.</summary>
    internal uint NewestBlock;

    /// <summary>The table of a mode.</summary>
    internal readonly uint* Table(CodeMode mode) => (uint*)Tables[(int)mode];

    /// <summary>Marks bytes as decoded.</summary>
    internal void MarkDecoded(int offset, int length)
    {
        for (int i = offset; i < offset + length && i < 4096; i++)
            Decoded[i >> 6] |= 1UL << (i & 63);
    }

    /// <summary>True when any of the bytes was decoded.</summary>
    internal readonly bool Overlaps(int offset, int length)
    {
        for (int i = offset; i < offset + length && i < 4096; i++)
        {
            if ((Decoded[i >> 6] & (1UL << (i & 63))) != 0)
                return true;
        }

        return false;
    }
}

/// <summary>How the bytes of code are decoded and executed.</summary>
internal enum CodeMode
{
    /// <summary>16-bit code segment.</summary>
    Code16,

    /// <summary>32-bit code segment with a base or a limit.</summary>
    Code32,

    /// <summary>64-bit mode.</summary>
    Code64,

    /// <summary>32-bit code segment from 0 to 4 GiB: blocks may be chained.</summary>
    Flat32,
}
