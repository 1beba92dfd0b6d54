using System.Runtime.InteropServices;

namespace Doppel.Engines.Translator;

/// <summary>The translated code of one guest-physical page; emitted look-ups read it.</summary>
[StructLayout(LayoutKind.Sequential)]
internal unsafe struct TranslatedPage
{
    /// <summary>Variants of translation (<see cref="TranslationVariant"/>).</summary>
    internal const int Variants = 64;

    /// <summary>For each variant a table from page offset to code offset (0: none), or the address of an empty table.</summary>
    internal fixed ulong Tables[Variants];

    /// <summary>A bit for each byte that was translated.</summary>
    internal fixed ulong Translated[64];

    /// <summary>Guest-physical address.</summary>
    internal ulong Physical;

    internal readonly uint* Table(TranslationVariant variant) => (uint*)Tables[(int)variant];

    internal void Mark(int offset, int length)
    {
        for (int i = offset; i < offset + length && i < 4096; i++)
            Translated[i >> 6] |= 1UL << (i & 63);
    }

    internal readonly bool Overlaps(int offset, int length)
    {
        for (int i = offset; i < offset + length && i < 4096; i++)
        {
            if ((Translated[i >> 6] & (1UL << (i & 63))) != 0)
                return true;
        }

        return false;
    }
}
