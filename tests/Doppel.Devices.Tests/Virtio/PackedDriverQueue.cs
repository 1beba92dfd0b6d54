using Doppel.Machine.Memory;

namespace Doppel.Devices.Tests.Virtio;

/// <summary>A driver's side of a packed queue.</summary>
public sealed class PackedDriverQueue : DriverQueue
{
    private readonly Queue<int> _ids;
    private readonly Dictionary<int, int> _chains = [];
    private int _next;
    private bool _wrap = true;
    private int _used;
    private bool _usedWrap = true;
    private int _free;
    private int _kicked;

    public PackedDriverQueue(IVirtioAccess access, GuestMemory memory, int index, int size, ulong area, ulong tables, bool usesEventIndex)
        : base(access, memory, index, size, area, tables, usesEventIndex)
    {
        _ids = new Queue<int>(Enumerable.Range(0, size));
        _free = size;
    }

    public override ulong Descriptors => Area;

    public override ulong DriverArea => Area + ((ulong)Size * 16);

    public override ulong DeviceArea => DriverArea + 4;

    public override int FreeSlots => _free;

    public override int Add(IReadOnlyList<DriverBuffer> buffers, bool isIndirect = false)
    {
        int id = _ids.Dequeue();
        int count = isIndirect ? 1 : buffers.Count;
        Assert.True(count <= _free, "the queue is full");
        _chains[id] = count;
        _free -= count;
        if (isIndirect)
        {
            for (int i = 0; i < buffers.Count; i++)
                PutDescriptor(TableOf(id) + ((ulong)i * 16), buffers[i].Address, buffers[i].Length, 0, buffers[i].IsWritable ? 2 : 0);
            Put(TableOf(id), (uint)buffers.Count * 16, id, 4);
            return id;
        }

        // The first descriptor's flags are written last: they make the chain available.
        int first = _next;
        bool firstWrap = _wrap;
        for (int i = 0; i < buffers.Count; i++)
        {
            int flags = (i + 1 < buffers.Count ? 1 : 0) | (buffers[i].IsWritable ? 2 : 0);
            int available = _wrap ? 0x80 : 0x8000;
            PutDescriptor(At(_next), buffers[i].Address, buffers[i].Length, id, i == 0 ? flags | (available ^ 0x8080) : flags | available);
            Advance();
        }

        Put16(At(first) + 14, (buffers.Count > 1 ? 1 : 0) | (buffers[0].IsWritable ? 2 : 0) | (firstWrap ? 0x80 : 0x8000));
        return id;
    }

    /// <summary>Makes one descriptor available as it is given.</summary>
    public void Put(ulong address, uint length, int id, int flags)
    {
        PutDescriptor(At(_next), address, length, id, flags | (_wrap ? 0x80 : 0x8000));
        Advance();
    }

    public override bool TryGetUsed(out int id, out uint written)
    {
        id = 0;
        written = 0;
        int flags = Get16(At(_used) + 14);
        if ((flags & 0x8000) != 0 != _usedWrap || (flags & 0x80) != 0 != _usedWrap)
            return false;
        written = Get32(At(_used) + 8);
        id = Get16(At(_used) + 12);
        int count = _chains.Remove(id, out int slots) ? slots : 1;
        _ids.Enqueue(id);
        _free += count;
        _used += count;
        if (_used >= Size)
        {
            _used -= Size;
            _usedWrap = !_usedWrap;
        }

        return true;
    }

    public override void WantInterrupt(bool wanted)
    {
        if (wanted && UsesEventIndex)
            Put16(DriverArea, _used | (_usedWrap ? 0x8000 : 0));
        Put16(DriverArea + 2, !wanted ? 1 : UsesEventIndex ? 2 : 0);
    }

    public override bool DeviceWantsNotification()
    {
        int before = _kicked;
        _kicked = _next;
        int flags = Get16(DeviceArea + 2) & 3;
        if (flags != 2)
            return flags == 0;
        int offset = Get16(DeviceArea);
        int wanted = offset & 0x7FFF;
        if ((offset & 0x8000) != 0 != _wrap)
            wanted -= Size;
        if (before > _next)
            before -= Size;
        return Passed(wanted, _next, before);
    }

    private ulong At(int slot) => Descriptors + ((ulong)slot * 16);

    private void Advance()
    {
        if (++_next < Size)
            return;
        _next = 0;
        _wrap = !_wrap;
    }
}
