using System.Numerics;

namespace Doppel.Machine.Memory;

/// <summary>A set of page numbers, one bit each. Not thread-safe.</summary>
public sealed class PageSet
{
    private readonly ulong[] _words;

    /// <summary>An empty set.</summary>
    /// <param name="pages">Numbers are below this.</param>
    public PageSet(ulong pages)
    {
        Capacity = pages;
        _words = new ulong[(pages + 63) / 64];
    }

    /// <summary>An empty set for the pages of a memory.</summary>
    public static PageSet For(GuestMemory memory)
    {
        ArgumentNullException.ThrowIfNull(memory);
        return new PageSet(memory.AddressSpaceSize / GuestMemory.PageSize);
    }

    /// <summary>Numbers are below this.</summary>
    public ulong Capacity { get; }

    /// <summary>How many pages are in the set.</summary>
    public ulong Count
    {
        get
        {
            ulong count = 0;
            foreach (ulong word in _words)
                count += (ulong)BitOperations.PopCount(word);
            return count;
        }
    }

    /// <summary>Adds a page.</summary>
    public void Add(ulong page)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual(page, Capacity);
        _words[page >> 6] |= 1UL << (int)(page & 63);
    }

    /// <summary>Adds neighbouring pages.</summary>
    public void Add(ulong first, ulong count)
    {
        for (ulong page = first; page < first + count; page++)
            Add(page);
    }

    /// <summary>Adds the pages of another set of the same capacity.</summary>
    public void Add(PageSet other)
    {
        ArgumentNullException.ThrowIfNull(other);
        ArgumentOutOfRangeException.ThrowIfNotEqual(other.Capacity, Capacity);
        for (int i = 0; i < _words.Length; i++)
            _words[i] |= other._words[i];
    }

    /// <summary>True when a page is in the set.</summary>
    public bool Contains(ulong page) => page < Capacity && (_words[page >> 6] & (1UL << (int)(page & 63))) != 0;

    /// <summary>Empties the set.</summary>
    public void Clear() => Array.Clear(_words);

    /// <summary>A copy.</summary>
    public PageSet Clone()
    {
        var copy = new PageSet(Capacity);
        _words.CopyTo(copy._words, 0);
        return copy;
    }

    /// <summary>The pages in runs of neighbours, in order.</summary>
    public IEnumerable<(ulong First, ulong Count)> Runs()
    {
        for (ulong page = Next(0, true); page < Capacity;)
        {
            ulong end = Next(page, false);
            yield return (page, end - page);
            page = Next(end, true);
        }
    }

    // The first page at or behind a number that is, or is not, in the set.
    private ulong Next(ulong page, bool isIn)
    {
        while (page < Capacity)
        {
            ulong word = (isIn ? _words[page >> 6] : ~_words[page >> 6]) >> (int)(page & 63);
            if (word != 0)
                return Math.Min(page + (ulong)BitOperations.TrailingZeroCount(word), Capacity);
            page = (page | 63) + 1;
        }

        return Capacity;
    }
}
