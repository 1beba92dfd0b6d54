using System.Numerics;

namespace Doppel.Machine.Cpu.Mmu;

/// <summary>
/// One half of a table of the software TLB (<see cref="TlbLayout"/>): a view of memory that others may share. A flush
/// visits only what was filled since the last one, so its cost is a small part of that of the walks which filled it.
/// </summary>
internal readonly unsafe struct TlbHalf
{
    // 2 MiB pages, and the 4 MiB ones of 2-level paging, lie in one aligned 4 MiB.
    private const int LargeShift = 22;
    private const int HugeShift = 30;
    private readonly byte* _start;

    /// <summary>Looks at a half.</summary>
    /// <param name="start">Its element of the first array.</param>
    internal TlbHalf(byte* start) => _start = start;

    internal TlbControl* Control => (TlbControl*)(_start + TlbLayout.Control);

    /// <summary>Makes zeroed memory an empty half.</summary>
    internal void Initialize(TlbMode mode)
    {
        Control->Mode = (ulong)mode;
        Invalidate(0);
        Invalidate(TlbLayout.HalfSize - 1);
    }

    /// <summary>
    /// Records a translation without making a tag valid. One split from a large page records the aligned 4 MiB that hold it,
    /// or the gigabyte, for INVLPG: any address in a large page must drop all of it.
    /// </summary>
    internal void Fill(TlbEntry* entry, ulong page, ulong physical, TlbRights rights)
    {
        TlbControl* control = Control;
        int index = (int)(page >> 12) & (TlbLayout.HalfSize - 1);
        entry->ReadTag = entry->WriteTag = entry->ExecuteTag = InvalidTag(index);
        entry->Page = page | 1;
        entry->Detail = physical | (ulong)rights;
        control->Filled[index >> 6] |= 1UL << (index & 63);
        control->FilledWords |= 1UL << (index >> 6);
        if ((rights & TlbRights.Global) != 0)
            control->HasGlobal = 1;
        else
            control->HasLocal = 1;
        if ((rights & (TlbRights.Huge | TlbRights.Large)) == 0)
            return;
        control->HasLarge = 1;
        if ((rights & TlbRights.Huge) != 0)
            control->HugeRegions |= 1UL << (int)((page >> HugeShift) & 63);
        else
            *LargeWord(page) |= 1UL << (int)((page >> LargeShift) & 63);
    }

    /// <summary>Drops everything, or everything but global translations.</summary>
    internal void Flush(bool keepGlobal)
    {
        TlbControl* control = Control;
        keepGlobal &= control->HasGlobal != 0;
        control->HasLocal = 0;
        for (ulong words = control->FilledWords; words != 0; words &= words - 1)
        {
            int word = BitOperations.TrailingZeroCount(words);
            ulong kept = 0;
            for (ulong bits = control->Filled[word]; bits != 0; bits &= bits - 1)
            {
                int index = (word << 6) + BitOperations.TrailingZeroCount(bits);
                if (keepGlobal && (EntryAt(index)->Rights & TlbRights.Global) != 0)
                    kept |= bits & (0 - bits);
                else
                    Invalidate(index);
            }

            control->Filled[word] = kept;
            if (kept == 0)
                control->FilledWords &= ~(1UL << word);
        }

        if (control->FilledWords != 0)
            return;
        control->HasGlobal = 0;
        if (control->HasLarge == 0)
            return;
        control->HasLarge = 0;
        control->HugeRegions = 0;
        new Span<ulong>(control->LargeRegions, (1 << TlbControl.LargeBits) / 64).Clear();
    }

    /// <summary>Drops the translation of one page, and of every other part of its large page if it came from one.</summary>
    internal void FlushPage(ulong address)
    {
        TlbControl* control = Control;
        ulong page = address & ~0xFFFUL;
        int index = (int)(page >> 12) & (TlbLayout.HalfSize - 1);
        if (EntryAt(index)->Page == (page | 1))
            Invalidate(index);
        if (control->HasLarge == 0)
            return;
        bool isHuge = (control->HugeRegions & (1UL << (int)((page >> HugeShift) & 63))) != 0;
        bool isLarge = (*LargeWord(page) & (1UL << (int)((page >> LargeShift) & 63))) != 0;
        if (isHuge || isLarge)
            FlushLarge(page);
    }

    /// <summary>Takes the write permission from every entry of a guest-physical page. Any thread.</summary>
    internal void DropWrite(ulong physicalPage)
    {
        // On another thread than the owner's, each store is one aligned word, and at worst drops too much. What the owner
        // fills meanwhile it checks again itself, after its stores to the control have become visible.
        TlbControl* control = Control;
        for (ulong words = Volatile.Read(ref control->FilledWords); words != 0; words &= words - 1)
        {
            int word = BitOperations.TrailingZeroCount(words);
            for (ulong bits = Volatile.Read(ref control->Filled[word]); bits != 0; bits &= bits - 1)
            {
                int index = (word << 6) + BitOperations.TrailingZeroCount(bits);
                TlbEntry* entry = EntryAt(index);
                if (entry->Physical == physicalPage)
                    Volatile.Write(ref entry->WriteTag, InvalidTag(index));
            }
        }
    }

    /// <summary>
    /// A tag that no access at this index matches: that of the page two away. The neighbour's would match an access that
    /// crosses into it.
    /// </summary>
    internal static ulong InvalidTag(int index) => 0UL - ((ulong)((index ^ 2) & (TlbLayout.HalfSize - 1)) << 12);

    private TlbEntry* EntryAt(int index) => (TlbEntry*)(_start + (index * sizeof(ulong)));

    private ulong* LargeWord(ulong page) =>
        Control->LargeRegions + ((page >> (LargeShift + 6)) & ((1 << (TlbControl.LargeBits - 6)) - 1));

    private void FlushLarge(ulong page)
    {
        TlbControl* control = Control;
        ulong huge = 0;
        bool isLargeLeft = false;
        for (ulong words = control->FilledWords; words != 0; words &= words - 1)
        {
            int word = BitOperations.TrailingZeroCount(words);
            for (ulong bits = control->Filled[word]; bits != 0; bits &= bits - 1)
            {
                int index = (word << 6) + BitOperations.TrailingZeroCount(bits);
                TlbEntry* entry = EntryAt(index);
                ulong apart = entry->Page ^ page;
                if ((entry->Rights & TlbRights.Huge) != 0)
                {
                    if (apart >> HugeShift == 0)
                        Invalidate(index);
                    else
                        huge |= 1UL << (int)((entry->Page >> HugeShift) & 63);
                }
                else if ((entry->Rights & TlbRights.Large) != 0)
                {
                    if (apart >> LargeShift == 0)
                        Invalidate(index);
                    else
                        isLargeLeft |= LargeWord(entry->Page) == LargeWord(page) && (apart & (63UL << LargeShift)) == 0;
                }
            }
        }

        control->HugeRegions = huge;
        if (!isLargeLeft)
            *LargeWord(page) &= ~(1UL << (int)((page >> LargeShift) & 63));
    }

    private void Invalidate(int index)
    {
        TlbEntry* entry = EntryAt(index);
        entry->ReadTag = entry->WriteTag = entry->ExecuteTag = InvalidTag(index);
        entry->Page = 0;
        entry->Detail = 0;
    }
}
