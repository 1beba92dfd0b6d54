using Doppel.Machine.Memory;

namespace Doppel.Devices.Display;

/// <summary>
/// Which pages of a display's memory were written since it was last looked at. Those of the last time count again: a store may
/// have landed since that was under way then. Not thread-safe.
/// </summary>
internal sealed class WrittenPages(DeviceRam memory)
{
    private readonly ulong[] _pages = new ulong[((memory.Length / GuestMemory.PageSize) + 63) / 64];
    private readonly ulong[] _late = new ulong[((memory.Length / GuestMemory.PageSize) + 63) / 64];

    /// <summary>One bit a page, the lowest of each word first.</summary>
    internal ReadOnlySpan<ulong> Pages => _pages;

    /// <summary>Looks. With the I/O lock held.</summary>
    internal void Take()
    {
        for (int i = 0; i < _pages.Length; i++)
            (_pages[i], _late[i]) = (_late[i], 0);
        memory.TakeWritten(_late);
        for (int i = 0; i < _pages.Length; i++)
            _pages[i] |= _late[i];
    }

    /// <summary>True when one of so many bytes may have changed.</summary>
    internal bool Has(int offset, int length)
    {
        for (int page = offset / GuestMemory.PageSize; page <= (offset + length - 1) / GuestMemory.PageSize; page++)
        {
            if ((_pages[page >> 6] & (1UL << (page & 63))) != 0)
                return true;
        }

        return false;
    }
}
