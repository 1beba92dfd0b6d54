using Doppel.Machine.Memory;

namespace Doppel.Devices.Tests.Virtio;

/// <summary>A driver's side of a split queue.</summary>
public sealed class SplitDriverQueue : DriverQueue
{
    private readonly Queue<int> _free;
    private readonly Dictionary<int, List<int>> _chains = [];
    private ushort _available;
    private ushort _kicked;
    private ushort _used;

    public SplitDriverQueue(IVirtioAccess access, GuestMemory memory, int index, int size, ulong area, ulong tables, bool usesEventIndex)
        : base(access, memory, index, size, area, tables, usesEventIndex) =>
        _free = new Queue<int>(Enumerable.Range(0, size));

    public override ulong Descriptors => Area;

    public override ulong DriverArea => Area + ((ulong)Size * 16);

    public override ulong DeviceArea => (DriverArea + 6 + (2 * (ulong)Size) + 3) & ~3UL;

    public override int FreeSlots => _free.Count;

    public override int Add(IReadOnlyList<DriverBuffer> buffers, bool isIndirect = false)
    {
        List<int> slots = [.. Enumerable.Range(0, isIndirect ? 1 : buffers.Count).Select(_ => _free.Dequeue())];
        int head = slots[0];
        if (isIndirect)
        {
            for (int i = 0; i < buffers.Count; i++)
                PutDescriptor(TableOf(head) + ((ulong)i * 16), buffers[i].Address, buffers[i].Length, Flags(buffers, i), i + 1);
            PutDescriptor(Descriptors + ((ulong)head * 16), TableOf(head), (uint)buffers.Count * 16, 4, 0);
        }
        else
        {
            for (int i = 0; i < buffers.Count; i++)
                PutDescriptor(Descriptors + ((ulong)slots[i] * 16), buffers[i].Address, buffers[i].Length, Flags(buffers, i), i + 1 < buffers.Count ? slots[i + 1] : 0);
        }

        _chains[head] = slots;
        Publish(head);
        return head;
    }

    /// <summary>Makes a head available, whatever it leads to.</summary>
    public void Publish(int head)
    {
        Put16(DriverArea + 4 + (2 * (ulong)(_available % Size)), head);
        _available++;
        Put16(DriverArea + 2, _available);
    }

    /// <summary>Writes one descriptor as it is given.</summary>
    public void SetDescriptor(int slot, ulong address, uint length, int flags, int next) =>
        PutDescriptor(Descriptors + ((ulong)slot * 16), address, length, flags, next);

    public void SetAvailableIndex(int index) => Put16(DriverArea + 2, index);

    public override bool TryGetUsed(out int id, out uint written)
    {
        id = 0;
        written = 0;
        if (Get16(DeviceArea + 2) == _used)
            return false;
        ulong element = DeviceArea + 4 + (8 * (ulong)(_used % Size));
        id = (int)Get32(element);
        written = Get32(element + 4);
        _used++;
        if (_chains.Remove(id, out List<int>? slots))
            slots.ForEach(_free.Enqueue);
        return true;
    }

    public override void WantInterrupt(bool wanted)
    {
        Put16(DriverArea, !wanted && !UsesEventIndex ? 1 : 0);
        Put16(DriverArea + 4 + (2 * (ulong)Size), wanted ? _used : _used - 1);
    }

    public override bool DeviceWantsNotification()
    {
        ushort before = _kicked;
        _kicked = _available;
        return UsesEventIndex
            ? Passed(Get16(DeviceArea + 4 + (8 * (ulong)Size)), _available, before)
            : (Get16(DeviceArea) & 1) == 0;
    }

    private static int Flags(IReadOnlyList<DriverBuffer> buffers, int i) => (i + 1 < buffers.Count ? 1 : 0) | (buffers[i].IsWritable ? 2 : 0);
}
