namespace Doppel.Machine.Memory;

/// <summary>The kinds of pages: RAM, ROM, or no memory at all, as the chip set decides while the machine runs.</summary>
public sealed unsafe partial class GuestMemory
{
    private const PageFlags Kinds = Memory.PageFlags.Ram | Memory.PageFlags.Rom;

    // Ranges inside what was made as RAM that aren't RAM now.
    private (ulong Start, ulong End)[] _holes = [];

    /// <summary>Told after pages have changed their kind or were filled anew (first address, bytes): no vCPU may go on with what its TLB says of them.</summary>
    public event Action<ulong, ulong>? KindChanged;

    /// <summary>True for addresses that the machine was made with RAM for, whatever their pages show now.</summary>
    public bool IsInstalled(ulong address) => address < LowRamSize || (address >= HighRamStart && address < AddressSpaceSize);

    /// <summary>
    /// Makes pages RAM, ROM (whose writes go to the bus), or no memory (all accesses go to the bus). What is stored for them
    /// stays, and shows again when they are memory again. Devices reach them only where the machine was made with RAM. Decoded
    /// code of theirs is dropped, and every vCPU's TLB before its next block. With the I/O lock held, or before the machine runs.
    /// </summary>
    /// <param name="address">First page; a multiple of 4096.</param>
    /// <param name="length">Bytes; a multiple of 4096, inside the address space.</param>
    /// <param name="kind"><see cref="Memory.PageFlags.Ram"/>, <see cref="Memory.PageFlags.Rom"/> or none.</param>
    public void SetKind(ulong address, ulong length, PageFlags kind)
    {
        CheckPages(address, length);
        if ((kind & ~Kinds) != 0 || kind == Kinds)
            throw new ArgumentOutOfRangeException(nameof(kind), kind, "a page is RAM, ROM or nothing");
        for (ulong page = address; page < address + length; page += PageSize)
            Change(page, kind, Kinds & ~kind);
        ulong end = address + length;
        var holes = new List<(ulong Start, ulong End)>();
        foreach ((ulong Start, ulong End) hole in _holes)
        {
            if (hole.Start < Math.Min(hole.End, address))
                holes.Add((hole.Start, Math.Min(hole.End, address)));
            if (Math.Max(hole.Start, end) < hole.End)
                holes.Add((Math.Max(hole.Start, end), hole.End));
        }

        if (kind != Memory.PageFlags.Ram)
            holes.Add((address, end));
        Volatile.Write(ref _holes, [.. holes]);
        OnKindChanged(address, length);
    }

    /// <summary>Stores bytes for pages of any kind, as the chip set does when it shows something else there; see <see cref="SetKind"/>.</summary>
    /// <param name="address">First byte.</param>
    /// <param name="bytes">What is stored.</param>
    public void Store(ulong address, ReadOnlySpan<byte> bytes)
    {
        if (!IsStored(address, (ulong)bytes.Length))
            throw new ArgumentOutOfRangeException(nameof(address), address, $"{bytes.Length} bytes are not inside the address space");
        bytes.CopyTo(new Span<byte>(Base + address, bytes.Length));
        NoteWrite(address, bytes.Length);
    }

    /// <summary>Copies what is stored for pages of any kind.</summary>
    /// <param name="address">First byte.</param>
    /// <param name="destination">Where to.</param>
    public void Load(ulong address, Span<byte> destination)
    {
        if (!IsStored(address, (ulong)destination.Length))
            throw new ArgumentOutOfRangeException(nameof(address), address, $"{destination.Length} bytes are not inside the address space");
        new ReadOnlySpan<byte>(Base + address, destination.Length).CopyTo(destination);
    }

    /// <summary>What is stored for a page of any kind; empty beyond the end.</summary>
    public ReadOnlySpan<byte> GetStoredPage(ulong address) =>
        address < AddressSpaceSize ? new ReadOnlySpan<byte>(Base + (address & ~(ulong)(PageSize - 1)), PageSize) : [];

    /// <summary>Adds views of what is stored for a range, whatever kind its pages are of; see <see cref="TryGetViews"/>.</summary>
    /// <returns>False when the range isn't inside the address space; nothing is added then.</returns>
    public bool TryGetStoredViews(ulong address, ulong length, ICollection<Memory<byte>> views)
    {
        ArgumentNullException.ThrowIfNull(views);
        if (!IsStored(address, length))
            return false;
        AddViews(address, length, views);
        return true;
    }

    private bool IsStored(ulong address, ulong length) => address <= AddressSpaceSize && length <= AddressSpaceSize - address;

    private void CheckPages(ulong address, ulong length)
    {
        if ((address | length) % PageSize != 0 || length == 0 || !IsStored(address, length))
            throw new ArgumentOutOfRangeException(nameof(address), address, $"{length} bytes are not whole pages inside the address space");
    }

    private void OnKindChanged(ulong address, ulong length)
    {
        for (ulong page = address; page < address + length; page += PageSize)
        {
            if ((FlagsOf(page) & Memory.PageFlags.Code) != 0)
                WatchedPageWritten?.Invoke(page, PageSize);
        }

        KindChanged?.Invoke(address, length);
    }
}
