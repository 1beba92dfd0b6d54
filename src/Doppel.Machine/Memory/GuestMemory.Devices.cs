using System.Runtime.CompilerServices;
using Doppel.Host.Memory;

namespace Doppel.Machine.Memory;

/// <content>Memory of devices among the machine's own; see <see cref="DeviceRam"/>.</content>
public sealed unsafe partial class GuestMemory
{
    /// <summary>Raised before the marks of a device's pages are taken (first address, bytes): whoever learns of writes elsewhere marks them now. vCPUs may run.</summary>
    public event Action<ulong, ulong>? CollectingDeviceWrites;

    /// <summary>Makes a part of a device's memory guest memory where there is none. With the I/O lock held.</summary>
    /// <returns>False when there is memory already, or the space ends; nothing happens then.</returns>
    internal bool TryShowDevice(SharedMemory memory, ulong offset, ulong address, ulong length)
    {
        if (address >= AddressSpaceSize || length > AddressSpaceSize - address)
            return false;
        for (ulong page = address; page < address + length; page += PageSize)
        {
            if (IsMemory(page))
                return false;
        }

        _memory.ShowOther(memory, offset, address, length);
        for (ulong page = address; page < address + length; page += PageSize)
            SetFlags(page, Memory.PageFlags.Ram | Memory.PageFlags.Device);
        KindChanged?.Invoke(address, length);
        return true;
    }

    /// <summary>Takes it away again. Code of those pages is dropped; the caller makes every TLB forget them. With the I/O lock held.</summary>
    internal void HideDevice(ulong address, ulong length)
    {
        NoteWrite(address, (int)length);
        for (ulong page = address; page < address + length; page += PageSize)
            ClearFlags(page, Memory.PageFlags.Ram | Memory.PageFlags.Device | Memory.PageFlags.Dirty);
        KindChanged?.Invoke(address, length);
        _memory.ShowOwn(address, length);
    }

    /// <summary>Adds the dirty pages of a range, as numbers from its start, to a set of bits and clears their marks.</summary>
    /// <returns>True when there was any: TLBs must forget that they may write there.</returns>
    internal bool TakeDeviceWrites(ulong address, ulong length, Span<ulong> pages, int firstBit)
    {
        CollectingDeviceWrites?.Invoke(address, length);
        bool found = false;
        var flags = new ReadOnlySpan<byte>(_flags.Base + (address / PageSize), (int)(length / PageSize));
        for (int page = 0; page < flags.Length; page++)
        {
            const ulong Dirty = 0x0101_0101_0101_0101UL * (ulong)Memory.PageFlags.Dirty;
            if ((page & 7) == 0 && flags.Length - page >= 8 && (Unsafe.ReadUnaligned<ulong>(ref Unsafe.AsRef(in flags[page])) & Dirty) == 0)
            {
                page += 7;
                continue;
            }

            if ((flags[page] & (byte)Memory.PageFlags.Dirty) == 0)
                continue;
            ClearFlags(address + ((ulong)page * PageSize), Memory.PageFlags.Dirty);
            int bit = firstBit + page;
            pages[bit >> 6] |= 1UL << (bit & 63);
            found = true;
        }

        return found;
    }
}
