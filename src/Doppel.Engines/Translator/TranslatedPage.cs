namespace Doppel.Engines.Translator;

/// <summary>What was translated of one guest-physical page.</summary>
internal sealed class TranslatedPage
{
    private readonly ulong[] _translated = new ulong[64];

    /// <summary>Numbers of the blocks that lie in the page or end in it.</summary>
    internal List<int> Blocks { get; } = [];

    /// <summary>Notes which bytes were translated.</summary>
    internal void Mark(int offset, int length)
    {
        for (int i = offset; i < offset + length && i < 4096; i++)
            _translated[i >> 6] |= 1UL << (i & 63);
    }

    /// <summary>Whether any of the bytes was translated.</summary>
    internal bool Overlaps(int offset, int length)
    {
        for (int i = offset; i < offset + length && i < 4096; i++)
        {
            if ((_translated[i >> 6] & (1UL << (i & 63))) != 0)
                return true;
        }

        return false;
    }
}
