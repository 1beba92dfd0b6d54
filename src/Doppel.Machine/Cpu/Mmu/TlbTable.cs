using System.Runtime.InteropServices;

namespace Doppel.Machine.Cpu.Mmu;

/// <summary>
/// One table of the software TLB: 512 entries for the lower half of the linear addresses and 512 for the upper, so that
/// a kernel and a process do not evict each other. A flush visits only what was filled since the last one, so its cost
/// is a small part of that of the page walks which filled it.
/// </summary>
internal sealed unsafe class TlbTable : IDisposable
{
    internal const int HalfSize = 512;
    internal const int Size = 2 * HalfSize;

    // 2 MiB pages, and the 4 MiB ones of 2-level paging, lie in one aligned 4 MiB.
    private const int LargeShift = 22;
    private const int HugeShift = 30;
    private readonly TlbEntry* _entries;
    private readonly TlbDetail* _details;
    private readonly ushort[] _filled = new ushort[Size];
    private readonly HashSet<ulong> _largeRegions = [];
    private readonly HashSet<ulong> _hugeRegions = [];
    private int _filledCount;

    internal TlbTable()
    {
        _entries = (TlbEntry*)NativeMemory.AlignedAlloc(Size * (nuint)sizeof(TlbEntry), 4096);
        _details = (TlbDetail*)NativeMemory.AlignedAlloc(Size * (nuint)sizeof(TlbDetail), 4096);
        for (int i = 0; i < Size; i++)
            Invalidate(i);
    }

    /// <summary>The generation of the owner at the last complete flush.</summary>
    internal uint Generation { get; set; }

    internal TlbEntry* Entries => _entries;

    internal TlbDetail* Details => _details;

    internal int FilledCount => _filledCount;

    /// <summary>Index of a linear address: bits 12 to 20, and bit 47 on top (one PEXT).</summary>
    internal static int IndexOf(ulong address) => (int)(((address >> 12) & (HalfSize - 1)) | ((address >> 38) & HalfSize));

    /// <summary>
    /// Makes an entry valid; a translation split from a large page records the aligned 4 MiB that hold it, or the gigabyte,
    /// for INVLPG: any address in a large page must drop all of it.
    /// </summary>
    internal void Fill(int index, ulong page, ulong physical, TlbRights rights)
    {
        if (_details[index].Page == 0)
            _filled[_filledCount++] = (ushort)index;
        if ((rights & TlbRights.Huge) != 0)
            _hugeRegions.Add(page >> HugeShift);
        else if ((rights & TlbRights.Large) != 0)
            _largeRegions.Add(page >> LargeShift);
        _details[index] = new TlbDetail { Page = page | 1, Physical = physical, Rights = rights };
    }

    /// <summary>Drops everything, or everything but global translations.</summary>
    internal void Flush(bool keepGlobal)
    {
        int kept = 0;
        for (int i = 0; i < _filledCount; i++)
        {
            int index = _filled[i];
            if (keepGlobal && (_details[index].Rights & TlbRights.Global) != 0)
                _filled[kept++] = (ushort)index;
            else
                Invalidate(index);
        }

        _filledCount = kept;
        if (kept != 0)
            return;
        _largeRegions.Clear();
        _hugeRegions.Clear();
    }

    /// <summary>Drops the translation of one page, and of every other part of its large page if it came from one.</summary>
    internal void FlushPage(ulong address)
    {
        ulong page = address & ~0xFFFUL;
        bool isHuge = _hugeRegions.Remove(page >> HugeShift);
        bool isLarge = _largeRegions.Remove(page >> LargeShift);
        if (!isLarge && !isHuge)
        {
            int index = IndexOf(page);
            if (_details[index].Page == (page | 1))
                Drop(index);
            return;
        }

        for (int i = _filledCount - 1; i >= 0; i--)
        {
            int index = _filled[i];
            ulong other = _details[index].Page;
            TlbRights rights = _details[index].Rights;
            bool isPartOfHuge = isHuge && (rights & TlbRights.Huge) != 0 && other >> HugeShift == page >> HugeShift;
            bool isPartOfLarge = isLarge && (rights & TlbRights.Large) != 0 && other >> LargeShift == page >> LargeShift;
            if (isPartOfHuge || isPartOfLarge || other == (page | 1))
                DropAt(i);
        }
    }

    /// <summary>Takes the write permission from every entry of a guest-physical page.</summary>
    internal void DropWrite(ulong physicalPage)
    {
        // May run on another thread than the owner's: each store is one aligned word, and at worst drops too much.
        for (int i = 0; i < Size; i++)
        {
            if (_details[i].Page != 0 && _details[i].Physical == physicalPage)
                Volatile.Write(ref _entries[i].WriteTag, InvalidTag(i));
        }
    }

    public void Dispose()
    {
        NativeMemory.AlignedFree(_entries);
        NativeMemory.AlignedFree(_details);
    }

    /// <summary>
    /// A tag that no access at this index matches: that of the page two away. The neighbour's would match an access that
    /// crosses into it.
    /// </summary>
    internal static ulong InvalidTag(int index) => 0UL - ((ulong)((index ^ 2) & (HalfSize - 1)) << 12);

    private void Drop(int index)
    {
        DropAt(Array.IndexOf(_filled, (ushort)index, 0, _filledCount));
    }

    private void DropAt(int position)
    {
        Invalidate(_filled[position]);
        _filled[position] = _filled[--_filledCount];
    }

    private void Invalidate(int index)
    {
        ulong tag = InvalidTag(index);
        _entries[index] = new TlbEntry { ReadTag = tag, WriteTag = tag, ExecuteTag = tag };
        _details[index] = default;
    }
}
