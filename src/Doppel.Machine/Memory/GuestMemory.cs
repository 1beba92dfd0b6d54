using System.Runtime.CompilerServices;
using Doppel.Host;
using Doppel.Host.Files;
using Doppel.Host.Memory;

namespace Doppel.Machine.Memory;

/// <summary>
/// Guest-physical memory: one sparse memfd in which the file offset is the guest-physical address, and one byte of
/// <see cref="Memory.PageFlags"/> a page. RAM beyond the 32-bit I/O hole continues at 4 GiB. Reads and writes are safe from any
/// thread as far as the hardware makes them so: aligned accesses up to 8 bytes are atomic.
/// </summary>
public sealed unsafe partial class GuestMemory : IDisposable
{
    /// <summary>Start of the hole for memory-mapped I/O below 4 GiB.</summary>
    public const ulong LowRamLimit = 0xC000_0000;

    /// <summary>Where RAM goes on after the hole.</summary>
    public const ulong HighRamStart = 0x1_0000_0000;

    /// <summary>Largest guest-physical address space: 64 GiB.</summary>
    public const ulong MaximumAddressSpace = 64UL << 30;

    /// <summary>Bytes of a page.</summary>
    public const int PageSize = 4096;

    private readonly SharedMemory _memory;
    private readonly AnonymousMemory _flags;
    private readonly GuestMemoryBlock[] _blocks;
    // The machine's own, and those of TryHold.
    private int _holders = 1;
    private bool _isDisposed;

    /// <summary>Creates RAM of the given size, from address 0.</summary>
    /// <param name="ramSize">Bytes of RAM, a multiple of 4096, at most 63 GiB.</param>
    /// <exception cref="ArgumentOutOfRangeException">The size is zero, unaligned or too large.</exception>
    public GuestMemory(ulong ramSize)
    {
        if (ramSize == 0 || ramSize % PageSize != 0 || ramSize > MaximumAddressSpace - (HighRamStart - LowRamLimit))
            throw new ArgumentOutOfRangeException(nameof(ramSize), ramSize, "RAM must be a multiple of 4096 bytes, at least 4096 and at most 63 GiB");
        RamSize = ramSize;
        LowRamSize = Math.Min(ramSize, LowRamLimit);
        HighRamSize = ramSize - LowRamSize;
        // The space always reaches 4 GiB, where the reset vector and the devices are.
        AddressSpaceSize = HighRamStart + HighRamSize;
        _memory = new SharedMemory("doppel-ram", AddressSpaceSize);
        _flags = new AnonymousMemory(AddressSpaceSize / PageSize);
        _codeGranules = new AnonymousMemory(AddressSpaceSize / PageSize * GranuleBytes);
        MarkRange(0, LowRamSize, Memory.PageFlags.Ram);
        MarkRange(HighRamStart, HighRamSize, Memory.PageFlags.Ram);
        _blocks = new GuestMemoryBlock[(AddressSpaceSize + GuestMemoryBlock.MaximumLength - 1) / GuestMemoryBlock.MaximumLength];
        for (int i = 0; i < _blocks.Length; i++)
        {
            ulong start = (ulong)i * GuestMemoryBlock.MaximumLength;
            _blocks[i] = new GuestMemoryBlock(Base + start, (int)Math.Min(AddressSpaceSize - start, GuestMemoryBlock.MaximumLength));
        }
    }

    /// <summary>Bytes of RAM.</summary>
    public ulong RamSize { get; }

    /// <summary>Bytes of RAM from address 0.</summary>
    public ulong LowRamSize { get; }

    /// <summary>Bytes of RAM from 4 GiB.</summary>
    public ulong HighRamSize { get; }

    /// <summary>End of the guest-physical addresses that can hold memory.</summary>
    public ulong AddressSpaceSize { get; }

    /// <summary>Host address of guest-physical address 0.</summary>
    public byte* Base => _memory.Base;

    /// <summary>The flags of page 0.</summary>
    public byte* FlagsBase => _flags.Base;

    /// <summary>The memfd, for other processes that map the same RAM. It lacks what <see cref="ShowFile"/> shows.</summary>
    public int Descriptor => _memory.Descriptor;

    /// <summary>Told when a write hits a page marked <see cref="Memory.PageFlags.Code"/> or another watched kind; called on the writer's thread.</summary>
    public event Action<ulong, int>? WatchedPageWritten;

    /// <summary>Raised before the marks of dirty pages are taken: whoever learns of writes elsewhere marks them now. No vCPU runs.</summary>
    public event Action? CollectingDirtyPages;

    /// <summary>The flags of the page that holds an address; none beyond the end.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public PageFlags FlagsOf(ulong address) =>
        address < AddressSpaceSize ? (PageFlags)_flags.Base[address >> 12] : Memory.PageFlags.None;

    /// <summary>True for RAM and ROM.</summary>
    public bool IsMemory(ulong address) => (FlagsOf(address) & (Memory.PageFlags.Ram | Memory.PageFlags.Rom)) != 0;

    /// <summary>Sets flags of a page atomically.</summary>
    public void SetFlags(ulong address, PageFlags flags) => Change(address, flags, Memory.PageFlags.None);

    /// <summary>Clears flags of a page atomically.</summary>
    public void ClearFlags(ulong address, PageFlags flags) => Change(address, Memory.PageFlags.None, flags);

    /// <summary>Places a ROM image; RAM under it disappears.</summary>
    /// <param name="address">Page-aligned start, below the end of the address space.</param>
    /// <param name="image">Its bytes; the last page is padded with zeros.</param>
    public void AddRom(ulong address, ReadOnlySpan<byte> image)
    {
        if (address % PageSize != 0 || address >= AddressSpaceSize || (ulong)image.Length > AddressSpaceSize - address)
            throw new ArgumentOutOfRangeException(nameof(address), address, "a ROM must start on a page and end inside the address space");
        image.CopyTo(new Span<byte>(Base + address, image.Length));
        ulong length = ((ulong)image.Length + PageSize - 1) & ~(ulong)(PageSize - 1);
        SetKind(address, length, Memory.PageFlags.Rom);
    }

    /// <summary>Takes RAM away where a device answers instead. Only while the machine is being made.</summary>
    /// <param name="address">Page-aligned start.</param>
    /// <param name="length">Whole pages, inside RAM below the hole.</param>
    public void RemoveRam(ulong address, ulong length)
    {
        if ((address | length) % PageSize != 0 || length > LowRamSize || address > LowRamSize - length)
            throw new ArgumentOutOfRangeException(nameof(address), address, $"{length} bytes are not whole pages of low RAM");
        SetKind(address, length, Memory.PageFlags.None);
    }

    /// <summary>The bytes of a page of RAM or ROM; empty for others.</summary>
    public ReadOnlySpan<byte> GetPage(ulong address) =>
        IsMemory(address) ? new ReadOnlySpan<byte>(Base + (address & ~(ulong)(PageSize - 1)), PageSize) : [];

    /// <summary>
    /// Adds the addresses of the pages of RAM marked dirty to a set and clears their marks. No vCPU runs; each must drop its TLB
    /// afterwards, whose entries were filled on the promise that their page is marked.
    /// </summary>
    public void TakeDirtyPages(ISet<ulong> pages)
    {
        CollectingDirtyPages?.Invoke();
        var flags = new Span<ulong>(_flags.Base, (int)(AddressSpaceSize / PageSize / sizeof(ulong)));
        const ulong Dirty = 0x0101_0101_0101_0101UL * (ulong)Memory.PageFlags.Dirty;
        for (int i = 0; i < flags.Length; i++)
        {
            if ((flags[i] & Dirty) == 0)
                continue;
            for (ulong page = 8 * (ulong)i; page < (8 * (ulong)i) + 8; page++)
            {
                if ((_flags.Base[page] & (byte)(Memory.PageFlags.Dirty | Memory.PageFlags.Device)) != (byte)Memory.PageFlags.Dirty || !IsInstalled(page * PageSize))
                    continue;
                ClearFlags(page * PageSize, Memory.PageFlags.Dirty);
                _ = pages.Add(page * PageSize);
            }
        }
    }

    /// <summary>The same, for a set of the size of this memory.</summary>
    public void TakeDirtyPages(PageSet pages)
    {
        ArgumentNullException.ThrowIfNull(pages);
        CollectingDirtyPages?.Invoke();
        var flags = new ReadOnlySpan<byte>(_flags.Base, (int)(AddressSpaceSize / PageSize));
        for (int at = 0; at < flags.Length; at += sizeof(ulong))
        {
            const ulong Dirty = 0x0101_0101_0101_0101UL * (ulong)Memory.PageFlags.Dirty;
            if ((Unsafe.ReadUnaligned<ulong>(_flags.Base + at) & Dirty) == 0)
                continue;
            for (int page = at; page < at + sizeof(ulong); page++)
            {
                if ((_flags.Base[page] & (byte)(Memory.PageFlags.Dirty | Memory.PageFlags.Device)) != (byte)Memory.PageFlags.Dirty || !IsInstalled((ulong)page * PageSize))
                    continue;
                ClearFlags((ulong)page * PageSize, Memory.PageFlags.Dirty);
                pages.Add((ulong)page);
            }
        }
    }

    /// <summary>
    /// Fills memory from a file whose offsets are guest-physical addresses, whatever kind its pages are of. They are read when they
    /// are first touched; the file isn't changed, may be deleted, and must not get shorter. Marks nothing dirty. No vCPU runs and
    /// no device works.
    /// </summary>
    /// <param name="file">The file.</param>
    /// <param name="address">First page; a multiple of 4096.</param>
    /// <param name="length">Bytes; a multiple of 4096, above 0, within the file and within this memory.</param>
    /// <exception cref="HostException">The host refuses.</exception>
    public void ShowFile(HostFile file, ulong address, ulong length)
    {
        if ((address | length) % PageSize != 0 || !IsStored(address, length))
            throw new ArgumentOutOfRangeException(nameof(address), address, $"{length} bytes are not whole pages of memory");
        _memory.ShowFile(file, address, address, length);
    }

    /// <summary>Reads pages ahead that show a file, so that they are there when they are first touched. Waits for the disk. Any thread.</summary>
    public void Prefetch(PageSet pages)
    {
        ArgumentNullException.ThrowIfNull(pages);
        foreach ((ulong first, ulong count) in pages.Runs())
            _memory.Prefetch(first * PageSize, count * PageSize);
    }

    /// <summary>The pages that show a file and have been touched, with some around them.</summary>
    /// <exception cref="IOException">The host tells nobody.</exception>
    public PageSet FindTouched()
    {
        var pages = PageSet.For(this);
        _memory.FindTouched(pages.Add);
        return pages;
    }

    /// <summary>How many bytes of RAM from an address on are zeros that take no host memory, and would if they were read.</summary>
    /// <param name="address">First byte; a multiple of 4096.</param>
    /// <param name="length">At most so many; a multiple of 4096, inside RAM.</param>
    public ulong UnusedFrom(ulong address, ulong length) => _isPartial ? 0 : _memory.UnusedFrom(address, length);

    /// <summary>Reads RAM or ROM, for devices and loaders.</summary>
    /// <returns>False when any byte is not memory; nothing is copied then.</returns>
    public bool TryRead(ulong address, Span<byte> destination)
    {
        if (!IsRange(address, destination.Length, Memory.PageFlags.Ram | Memory.PageFlags.Rom))
            return false;
        new ReadOnlySpan<byte>(Base + address, destination.Length).CopyTo(destination);
        return true;
    }

    /// <summary>Writes RAM, for devices and loaders; marks pages dirty and reports writes to watched pages.</summary>
    /// <returns>False when any byte is not RAM; nothing is copied then.</returns>
    public bool TryWrite(ulong address, ReadOnlySpan<byte> source)
    {
        if (!IsRange(address, source.Length, Memory.PageFlags.Ram))
            return false;
        source.CopyTo(new Span<byte>(Base + address, source.Length));
        NoteWrite(address, source.Length);
        return true;
    }

    /// <summary>True when all bytes of a range are RAM, so that a device may read and write them.</summary>
    public bool IsRam(ulong address, ulong length)
    {
        ulong end = unchecked(address + length);
        if (end < address || !(end <= LowRamSize || (address >= HighRamStart && end <= AddressSpaceSize)))
            return false;
        foreach ((ulong start, ulong holeEnd) in _holes)
        {
            if (address < holeEnd && start < end)
                return false;
        }

        return true;
    }

    /// <summary>
    /// Adds views of a range of RAM to a list, in order, so that a back end can read or write it without a copy. They are
    /// valid until disposal; whoever writes through them calls <see cref="NoteWrite"/> after.
    /// </summary>
    /// <returns>False when any byte is not RAM; nothing is added then.</returns>
    public bool TryGetViews(ulong address, ulong length, ICollection<Memory<byte>> views)
    {
        ArgumentNullException.ThrowIfNull(views);
        if (!IsRam(address, length))
            return false;
        AddViews(address, length, views);
        return true;
    }

    private void AddViews(ulong address, ulong length, ICollection<Memory<byte>> views)
    {
        while (length != 0)
        {
            GuestMemoryBlock block = _blocks[address / GuestMemoryBlock.MaximumLength];
            int offset = (int)(address % GuestMemoryBlock.MaximumLength);
            int part = (int)Math.Min(length, (ulong)(block.Length - offset));
            views.Add(block.Memory.Slice(offset, part));
            address += (ulong)part;
            length -= (ulong)part;
        }
    }

    /// <summary>
    /// Gives pages of RAM that the guest does not use back to the host. They read as zeros afterwards; writing to them takes
    /// host memory again. Seen as a write by whoever watches them.
    /// </summary>
    /// <param name="address">First page; a multiple of 4096.</param>
    /// <param name="length">Bytes; a multiple of 4096.</param>
    /// <returns>False when any byte is not RAM or the range is not whole pages; nothing happens then.</returns>
    public bool TryFree(ulong address, ulong length)
    {
        if ((address | length) % PageSize != 0 || !IsRam(address, length))
            return false;
        if (length == 0)
            return true;
        // A page that is given back while others are missing would be missing, too.
        if (_isPartial)
            ClearPages(address, length);
        else
            _memory.Free(address, length);
        for (ulong done = 0; done < length; done += GuestMemoryBlock.MaximumLength)
            NoteWrite(address + done, (int)Math.Min(length - done, GuestMemoryBlock.MaximumLength));
        return true;
    }

    /// <summary>Must follow every write to RAM that bypasses <see cref="TryWrite"/>: sets the dirty flags and reports watched pages.</summary>
    public void NoteWrite(ulong address, int length)
    {
        // The write must be visible before the flags are read: whoever sets a flag reads the page after. See Protect.
        Interlocked.MemoryBarrier();
        const PageFlags Seen = Memory.PageFlags.Code | Memory.PageFlags.PageTable | Memory.PageFlags.Watched;
        ulong last = address + (ulong)Math.Max(length, 1) - 1;
        for (ulong page = address & ~0xFFFUL; page <= last; page += PageSize)
        {
            PageFlags flags = FlagsOf(page);
            if ((flags & Memory.PageFlags.Dirty) == 0)
                SetFlags(page, Memory.PageFlags.Dirty);
            if ((flags & Seen) != 0)
            {
                ulong start = Math.Max(page, address);
                WatchedPageWritten?.Invoke(start, (int)(Math.Min(last, page + PageSize - 1) - start + 1));
            }
        }
    }

    /// <summary>Keeps the memory, also beyond its disposal, until <see cref="Release"/>: for who reads it while its machine may be reset. Any thread.</summary>
    /// <returns>False when it is gone already.</returns>
    public bool TryHold()
    {
        for (int holders = Volatile.Read(ref _holders); holders != 0; holders = Volatile.Read(ref _holders))
        {
            if (Interlocked.CompareExchange(ref _holders, holders + 1, holders) == holders)
                return true;
        }

        return false;
    }

    /// <summary>Ends a <see cref="TryHold"/>.</summary>
    public void Release()
    {
        if (Interlocked.Decrement(ref _holders) != 0)
            return;
        _memory.Dispose();
        _flags.Dispose();
        _codeGranules.Dispose();
    }

    /// <summary>Frees the memory, when nobody holds it any more.</summary>
    public void Dispose()
    {
        if (!Interlocked.Exchange(ref _isDisposed, true))
            Release();
    }

    private void Change(ulong address, PageFlags set, PageFlags clear)
    {
        ref byte flags = ref Unsafe.AsRef<byte>(_flags.Base + (address >> 12));
        for (byte old = flags; ;)
        {
            byte wanted = (byte)((old & ~(byte)clear) | (byte)set);
            if (wanted == old)
                return;
            byte seen = Interlocked.CompareExchange(ref flags, wanted, old);
            if (seen == old)
                return;
            old = seen;
        }
    }

    private bool IsRange(ulong address, int length, PageFlags kinds)
    {
        if (length == 0)
            return true;
        if (address >= AddressSpaceSize || (ulong)length > AddressSpaceSize - address)
            return false;
        for (ulong page = address >> 12; page <= (address + (ulong)length - 1) >> 12; page++)
        {
            if (((PageFlags)_flags.Base[page] & kinds) == 0)
                return false;
        }

        return true;
    }

    private void ClearPages(ulong address, ulong length)
    {
        for (ulong page = address; page < address + length; page += PageSize)
            new Span<byte>(Base + page, PageSize).Clear();
    }

    private void MarkRange(ulong start, ulong length, PageFlags flags) =>
        new Span<byte>(_flags.Base + (start / PageSize), (int)(length / PageSize)).Fill((byte)flags);
}
