using Doppel.Host.Memory;

namespace Doppel.Machine.Memory;

/// <summary>
/// Memory of a device, such as a display's, that a guest reaches as plain memory wherever the device shows parts of it:
/// engines read and write it without the bus. It is no part of the machine's RAM: the device saves it. Which pages were
/// written is known by the same marks as for RAM. Members are called with the I/O lock held, unless they say otherwise.
/// </summary>
public sealed unsafe class DeviceRam : IDisposable
{
    private readonly record struct Window(ulong Address, int Offset, int Length);

    private readonly SharedMemory _memory;
    private readonly PhysicalAddressSpace? _physical;
    private readonly List<Window> _windows = [];
    private readonly ulong[] _written;

    /// <summary>Creates memory of zeros, shown nowhere.</summary>
    /// <param name="name">Shown in /proc/PID/maps.</param>
    /// <param name="length">Bytes; a multiple of 4096.</param>
    /// <param name="physical">The address space in which it is shown; null for none, then it can't be.</param>
    /// <exception cref="Doppel.Host.HostException">The host refuses.</exception>
    public DeviceRam(string name, int length, PhysicalAddressSpace? physical)
    {
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(length);
        if (length % GuestMemory.PageSize != 0)
            throw new ArgumentOutOfRangeException(nameof(length), length, "a multiple of 4096 bytes would be right");
        Length = length;
        _physical = physical;
        _written = new ulong[((length / GuestMemory.PageSize) + 63) / 64];
        _memory = new SharedMemory(name, (ulong)length);
    }

    /// <summary>Bytes.</summary>
    public int Length { get; }

    /// <summary>The bytes, until disposal. Who writes through it calls <see cref="NoteWrite"/> after. Any thread may read.</summary>
    public Span<byte> Bytes => new(_memory.Base, Length);

    /// <summary>Shows a part at a guest-physical address.</summary>
    /// <param name="address">A multiple of 4096.</param>
    /// <param name="offset">First byte of the part; a multiple of 4096.</param>
    /// <param name="length">Its bytes; a multiple of 4096.</param>
    /// <returns>False when there is other memory at that place, or it can hold none; nothing happens then.</returns>
    public bool TryShow(ulong address, int offset, int length)
    {
        if ((address | (uint)offset | (uint)length) % GuestMemory.PageSize != 0 || length <= 0 || offset < 0 || offset > Length - length)
            throw new ArgumentOutOfRangeException(nameof(offset), offset, $"{length} bytes are not whole pages of the {Length} bytes");
        if (_physical is null || !_physical.Memory.TryShowDevice(_memory, (ulong)offset, address, (ulong)length))
            return false;
        _windows.Add(new Window(address, offset, length));
        _physical.RequestFlush();
        return true;
    }

    /// <summary>Ends what <see cref="TryShow"/> showed at an address; nothing happens when it was nothing.</summary>
    public void Hide(ulong address)
    {
        int index = _windows.FindIndex(window => window.Address == address);
        if (index < 0)
            return;
        Window gone = _windows[index];
        Collect(gone);
        _windows.RemoveAt(index);
        _physical!.Memory.HideDevice(gone.Address, (ulong)gone.Length);
        _physical.RequestFlush();
    }

    /// <summary>Where the guest sees memory of this device, as address, offset and length.</summary>
    public IEnumerable<(ulong Address, int Offset, int Length)> Shown => _windows.Select(window => (window.Address, window.Offset, window.Length));

    /// <summary>Marks bytes as written, after a write through <see cref="Bytes"/>.</summary>
    public void NoteWrite(int offset, int length)
    {
        int last = (offset + Math.Max(length, 1) - 1) / GuestMemory.PageSize;
        for (int page = offset / GuestMemory.PageSize; page <= last; page++)
            _written[page >> 6] |= 1UL << (page & 63);
    }

    /// <summary>
    /// Adds the pages that were written since the last call to a set. A vCPU that is in the midst of a store may finish it
    /// unmarked within moments: look at each page of the result once more the next time.
    /// </summary>
    /// <param name="pages">One bit a page, the lowest of each word first.</param>
    public void TakeWritten(Span<ulong> pages)
    {
        bool flush = false;
        foreach (Window window in _windows)
            flush |= Collect(window);
        if (flush)
            _physical!.RequestFlush();
        for (int i = 0; i < _written.Length; i++)
            pages[i] |= _written[i];
        Array.Clear(_written);
    }

    /// <inheritdoc/>
    public void Dispose() => _memory.Dispose();

    private bool Collect(Window window) =>
        _physical!.Memory.TakeDeviceWrites(window.Address, (ulong)window.Length, _written, window.Offset / GuestMemory.PageSize);
}
