using System.Numerics;
using Doppel.Host.Kvm;
using Doppel.Machine.Memory;

namespace Doppel.Engines.Kvm;

/// <summary>
/// The machine's memory as slots of the kernel's VM: one for each run of RAM, of ROM, or of a device's memory, kept true while
/// the chip set and devices change what pages show, and the log of what the guest writes there. Any thread.
/// </summary>
/// <remarks>
/// All RAM is logged from the beginning: a memfd has no large pages that the log would split, so that it costs one fault
/// for each page that is first read and then written, and "written since ever" is as exact as under the other engines. The log
/// is one bit a page rather than KVM's ring: an entry of a ring is given back by protecting its page again, so a ring that is
/// always on makes a guest fault anew for each page of its working set whenever it has gone round.
/// </remarks>
internal sealed unsafe class KvmMemoryMap : IDisposable
{
    // Where the chip set changes the kinds of pages one segment at a time, each segment is a slot of its own: a change then takes
    // away nothing that another vCPU may be executing from.
    private const ulong SegmentsStart = 0xA0000, SegmentsEnd = 0x100000, SegmentLength = 0x4000;

    private const PageFlags Kinds = PageFlags.Ram | PageFlags.Rom | PageFlags.Device;

    private readonly record struct Slot(int Number, ulong Address, ulong Length, PageFlags Kind)
    {
        internal ulong End => Address + Length;

        internal bool IsLogged => (Kind & PageFlags.Ram) != 0;
    }

    private readonly KvmVm _vm;
    private readonly GuestMemory _memory;
    private readonly Lock _lock = new();
    private readonly SortedList<ulong, Slot> _slots = [];
    private readonly Stack<int> _free = new();
    private ulong[] _bitmap = [];
    private int _used;
    private bool _isDisposed;

    /// <summary>Shows the memory to the VM.</summary>
    /// <exception cref="Doppel.Host.HostException">The kernel refuses.</exception>
    internal KvmMemoryMap(KvmVm vm, GuestMemory memory)
    {
        _vm = vm;
        _memory = memory;
        Show(0, memory.AddressSpaceSize);
        memory.KindChanged += Show;
        memory.CollectingDirtyPages += CollectAll;
        memory.CollectingDeviceWrites += Collect;
    }

    /// <summary>Takes the log for the last time. The VM is still there, and none of its vCPUs runs.</summary>
    public void Dispose()
    {
        _memory.KindChanged -= Show;
        _memory.CollectingDirtyPages -= CollectAll;
        _memory.CollectingDeviceWrites -= Collect;
        CollectAll();
        lock (_lock)
            _isDisposed = true;
    }

    /// <summary>Runs of pages of one kind, as they are shown now: address, length, and whether the guest can write there.</summary>
    internal IReadOnlyList<(ulong Address, ulong Length, bool IsWritable)> Shown
    {
        get
        {
            lock (_lock)
                return [.. _slots.Values.Select(slot => (slot.Address, slot.Length, slot.IsLogged))];
        }
    }

    /// <summary>Looks anew at what a range shows.</summary>
    private void Show(ulong address, ulong length)
    {
        lock (_lock)
        {
            if (_isDisposed)
                return;
            // A slot that only touches the range may have to become one with what the range shows now.
            ulong start = address, end = address + length;
            Slot[] touched =
            [
                .. _slots.Values.Where(slot => slot.Address < end && slot.End > start),
                .. _slots.Values.Where(slot => (slot.Address == end || slot.End == start) && !IsCut(slot.Address == end ? end : start)),
            ];
            foreach (Slot slot in touched)
            {
                start = Math.Min(start, slot.Address);
                end = Math.Max(end, slot.End);
            }

            List<(ulong Address, ulong Length, PageFlags Kind)> runs = RunsOf(start, end);
            foreach (Slot slot in touched)
            {
                if (!runs.Remove((slot.Address, slot.Length, slot.Kind)))
                    Remove(slot);
            }

            foreach ((ulong runStart, ulong runLength, PageFlags kind) in runs)
                Add(runStart, runLength, kind);
        }
    }

    private List<(ulong Address, ulong Length, PageFlags Kind)> RunsOf(ulong start, ulong end)
    {
        var runs = new List<(ulong, ulong, PageFlags)>();
        for (ulong address = start; address < end;)
        {
            PageFlags kind = KindOf(address);
            ulong next = address + GuestMemory.PageSize;
            while (next < end && KindOf(next) == kind && !IsCut(next))
                next += GuestMemory.PageSize;
            if (kind != PageFlags.None)
                runs.Add((address, next - address, kind));
            address = next;
        }

        return runs;
    }

    private static bool IsCut(ulong address) => address is >= SegmentsStart and <= SegmentsEnd && address % SegmentLength == 0;

    private PageFlags KindOf(ulong address)
    {
        PageFlags flags = _memory.FlagsOf(address) & Kinds;
        return (flags & PageFlags.Ram) != 0 ? flags & ~PageFlags.Rom : flags & PageFlags.Rom;
    }

    private void Add(ulong address, ulong length, PageFlags kind)
    {
        int number = _free.TryPop(out int free) ? free : _used++;
        var slot = new Slot(number, address, length, kind);
        _vm.SetMemory(number, address, length, _memory.Base + address, isReadOnly: !slot.IsLogged, slot.IsLogged);
        _slots.Add(address, slot);
    }

    private void Remove(Slot slot)
    {
        Collect(slot);
        _vm.SetMemory(slot.Number, slot.Address, 0, _memory.Base + slot.Address, isReadOnly: false, logsWrites: false);
        _ = _slots.Remove(slot.Address);
        _free.Push(slot.Number);
    }

    private void CollectAll() => Collect(0, _memory.AddressSpaceSize);

    private void Collect(ulong address, ulong length)
    {
        lock (_lock)
        {
            if (_isDisposed)
                return;
            foreach (Slot slot in _slots.Values)
            {
                if (slot.Address < address + length && slot.End > address)
                    Collect(slot);
            }
        }
    }

    private void Collect(Slot slot)
    {
        if (!slot.IsLogged)
            return;
        int words = (int)(((slot.Length / GuestMemory.PageSize) + 63) / 64);
        if (_bitmap.Length < words)
            _bitmap = new ulong[words];
        Span<ulong> bitmap = _bitmap.AsSpan(0, words);
        _vm.GetDirtyLog(slot.Number, bitmap);
        for (int i = 0; i < bitmap.Length; i++)
        {
            for (ulong word = bitmap[i]; word != 0; word &= word - 1)
                _memory.SetFlags(slot.Address + ((((ulong)i * 64) + (ulong)BitOperations.TrailingZeroCount(word)) * GuestMemory.PageSize), PageFlags.Dirty);
        }
    }
}
