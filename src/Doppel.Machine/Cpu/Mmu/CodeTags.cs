namespace Doppel.Machine.Cpu.Mmu;

/// <summary>
/// Numbers for what the addresses of code mean at present, so that an engine can cache where linear addresses lead. One
/// stands for the upper half of the linear addresses, one for the lower half; they lie in <see cref="CpuState.CodeTags"/>,
/// in the top 16 bits of each word. A cached address is good as long as the tag that it was cached under is the current
/// one. A space that is left and entered again without a flush has its old tag again.
/// </summary>
/// <remarks>
/// An engine marks each page whose addresses it caches with <see cref="Mark"/> (or by a store of 1 into the byte of
/// <see cref="CpuStateBlock.CodePagesOffset"/>), so that dropping one page's translation changes a tag only where code was.
/// When the numbers are used up they start again, and <see cref="Epoch"/> changes: everything that was cached must go.
/// Belongs to the vCPU's thread.
/// </remarks>
public sealed unsafe class CodeTags
{
    /// <summary>Index of the lower half's tag in <see cref="CpuState.CodeTags"/>.</summary>
    public const int Lower = 1;

    /// <summary>Index of the upper half's tag.</summary>
    public const int Upper = 0;

    /// <summary>From one tag to the next: tags are even.</summary>
    public const ulong Step = 2UL << 48;

    private const int HalfBytes = 4096;
    private const byte InPage = 1;
    private const byte InLargePage = 2;
    private readonly CpuState* _s;
    private readonly byte* _pages;
    private readonly TlbSlot* _slots;
    private readonly int _slotCount;

    internal CodeTags(CpuState* state, int slots)
    {
        _slotCount = slots;
        _s = state;
        _pages = (byte*)state + CpuStateBlock.CodePagesOffset;
        _slots = state->TlbSlots;
        for (int i = 0; i < _slotCount; i++)
            _slots[i].Tag = Next();
        _s->CodeTags[Upper] = Next();
        _s->CodeTags[Lower] = _slots[0].Tag;
    }

    /// <summary>Raised when the tags start again.</summary>
    public uint Epoch { get; private set; }

    /// <summary>Notes that addresses of a page of code are cached.</summary>
    /// <param name="address">Any address in the page.</param>
    /// <param name="rights">How it is mapped.</param>
    public void Mark(ulong address, TlbRights rights)
    {
        bool isLarge = (rights & (TlbRights.Large | TlbRights.Huge)) != 0;
        *PageByte(address) |= isLarge ? InLargePage : InPage;
        if (isLarge)
            _s->CodeHasLarge[IsUpper(address) ? Upper : Lower] |= (rights & TlbRights.Huge) != 0 ? ulong.MaxValue : RegionBit(address);
        if ((rights & TlbRights.Global) == 0 && IsUpper(address))
            _s->CodeHasLocalUpper = 1;
    }

    /// <summary>Another address space, or the same one again.</summary>
    internal void Select(int slot)
    {
        _s->CodeTags[Lower] = _slots[slot].Tag;
        DropLocalUpper();
    }

    /// <summary>A flush of what is not global of a space.</summary>
    /// <param name="slot">Which.</param>
    /// <param name="isCurrent">It is the current one.</param>
    internal void DropSpace(int slot, bool isCurrent)
    {
        _slots[slot].Tag = Next();
        if (isCurrent)
            Select(slot);
    }

    /// <summary>A flush of what is not global in the upper half.</summary>
    internal void DropLocalUpper()
    {
        if (_s->CodeHasLocalUpper != 0)
            DropUpper();
    }

    /// <summary>A flush of everything.</summary>
    internal void DropAll(int current)
    {
        DropLower(current);
        DropUpper();
    }

    /// <summary>The translation of one page was dropped.</summary>
    internal void DropPage(ulong address, int current)
    {
        if ((*PageByte(address) & InPage) == 0 && !MayBeInLargePage(address))
            return;
        if (IsUpper(address))
            DropUpper();
        else
            DropLower(current);
    }

    private static bool IsUpper(ulong address) => (address >> 47 & 1) != 0;

    // A large page goes as a whole. They are told apart by regions of 4 MiB, one bit for every 64th: a kernel whose code and
    // data share a half with programs drops single pages often.
    private bool MayBeInLargePage(ulong address) => (_s->CodeHasLarge[IsUpper(address) ? Upper : Lower] & RegionBit(address)) != 0;

    private static ulong RegionBit(ulong address) => 1UL << (int)(address >> 22 & 63);

    private Span<byte> Half(ulong address) => new(_pages + (IsUpper(address) ? HalfBytes : 0), HalfBytes);

    private byte* PageByte(ulong address) => _pages + (address >> 12 & (HalfBytes - 1)) + (IsUpper(address) ? HalfBytes : 0);

    private void DropLower(int current)
    {
        for (int i = 0; i < _slotCount; i++)
            _slots[i].Tag = Next();
        _s->CodeTags[Lower] = _slots[current].Tag;
        _s->CodeHasLarge[Lower] = 0;
        Half(0).Clear();
    }

    private void DropUpper()
    {
        _s->CodeHasLocalUpper = 0;
        _s->CodeTags[Upper] = Next();
        _s->CodeHasLarge[Upper] = 0;
        Half(ulong.MaxValue).Clear();
    }

    private ulong Next()
    {
        _s->LastCodeTag += Step;
        if (_s->LastCodeTag == 0)
        {
            Epoch++;
            _s->LastCodeTag = Step;
        }

        return _s->LastCodeTag;
    }
}
