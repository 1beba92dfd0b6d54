using Doppel.Machine.Memory;
using Doppel.Machine.State;

namespace Doppel.Devices.Virtio;

/// <summary>
/// A queue of a device (virtio 1.2, 2.6): its registers, its ring in guest memory once it is enabled, and the chains that
/// the device has taken and not yet returned. The machine's I/O lock guards it.
/// </summary>
public sealed class VirtioQueue
{
    private readonly GuestMemory _memory;
    private readonly List<VirtioChain> _taken = [];
    private readonly Stack<VirtioChain> _spare = [];
    private VirtioRing? _ring;
    private int _takenSlots;

    internal VirtioQueue(GuestMemory memory, int index, ushort maximumSize)
    {
        _memory = memory;
        Index = index;
        MaximumSize = maximumSize;
        Size = maximumSize;
    }

    /// <summary>Number of the queue in its device.</summary>
    public int Index { get; }

    /// <summary>Most descriptors.</summary>
    public ushort MaximumSize { get; }

    /// <summary>Number of descriptors that the driver wants.</summary>
    public ushort Size { get; internal set; }

    /// <summary>Address of the descriptor area.</summary>
    public ulong Descriptors { get; internal set; }

    /// <summary>Address of the driver area.</summary>
    public ulong Driver { get; internal set; }

    /// <summary>Address of the device area.</summary>
    public ulong Device { get; internal set; }

    /// <summary>True once the driver has enabled the queue.</summary>
    public bool IsEnabled { get; internal set; }

    /// <summary>True while a reset of this queue waits for chains that a back end is working on.</summary>
    public bool IsResetting { get; internal set; }

    /// <summary>The rule that the driver has broken in this queue; null for none.</summary>
    public string? Fault => _ring?.Fault;

    /// <summary>Number of chains taken and not yet returned.</summary>
    public int TakenCount => _taken.Count;

    /// <summary>True when the driver has made something available that has not been taken.</summary>
    public bool HasAvailable => _ring is { HasAvailable: true };

    internal bool IsStarted => _ring is not null;

    internal IReadOnlyList<VirtioChain> Taken => _taken;

    /// <summary>Takes the next chain that the driver has made available; null when there is none or the driver has broken a rule.</summary>
    internal VirtioChain? Take()
    {
        if (_ring is null || _ring.Fault is not null || !_ring.HasAvailable)
            return null;
        if (!_spare.TryPop(out VirtioChain? chain))
            chain = new VirtioChain(_memory) { Queue = Index };
        // A driver can't have more under way than the queue has places; without this it could make the device hold chains without end.
        if (_takenSlots < Size ? _ring.TryTake(chain) : Refuse())
        {
            _taken.Add(chain);
            _takenSlots += chain.SlotCount;
            return chain;
        }

        _spare.Push(chain);
        return null;
    }

    /// <summary>Returns a chain to the driver.</summary>
    internal void Return(VirtioChain chain, uint written)
    {
        _ring?.Return(chain, written);
        Forget(chain);
    }

    /// <summary>Returns chains with their <see cref="VirtioChain.Written"/> so that the driver sees all of them or none.</summary>
    internal void Return(ReadOnlySpan<VirtioChain> chains)
    {
        _ring?.Return(chains);
        foreach (VirtioChain chain in chains)
            Forget(chain);
    }

    /// <summary>Makes the chain that was taken last available again, as if it had not been taken.</summary>
    internal void GiveBack(VirtioChain chain)
    {
        _ring?.GiveBack(chain);
        Forget(chain);
    }

    /// <summary>Drops a chain without returning it.</summary>
    internal void Forget(VirtioChain chain)
    {
        if (!_taken.Remove(chain))
            throw new InvalidOperationException($"the chain {chain.Id} of queue {Index} was returned twice");
        _takenSlots -= chain.SlotCount;
        if (_spare.Count < 64)
            _spare.Push(chain);
    }

    internal bool TakeInterrupt()
    {
        // What was returned must be seen before it is read what the driver wants: it does the same in the other order.
        Interlocked.MemoryBarrier();
        return _ring is not null && _ring.TakeInterrupt();
    }

    internal void SetNotifications(bool wanted)
    {
        _ring?.SetNotifications(wanted);
        // And this before it is looked at once more what is available.
        Interlocked.MemoryBarrier();
    }

    /// <summary>Makes the ring, once driver and device agree on the features.</summary>
    internal void Start(ulong features)
    {
        var layout = new VirtioQueueLayout(Size, Descriptors, Driver, Device);
        _ring = (features & VirtioFeature.PackedRing) != 0
            ? new PackedRing(_memory, layout, features)
            : new SplitRing(_memory, layout, features);
    }

    internal void Reset()
    {
        _ring = null;
        _taken.Clear();
        _takenSlots = 0;
        Size = MaximumSize;
        Descriptors = 0;
        Driver = 0;
        Device = 0;
        IsEnabled = false;
        IsResetting = false;
    }

    internal void Save(StateWriter writer)
    {
        writer.Write(Size);
        writer.Write(Descriptors);
        writer.Write(Driver);
        writer.Write(Device);
        writer.Write(IsEnabled);
        writer.Write(IsResetting);
        writer.Write(IsStarted);
        if (_ring is null)
            return;
        _ring.Save(writer);
        writer.Write(Fault is not null);
        writer.Write(_taken.Count);
        foreach (VirtioChain chain in _taken)
        {
            writer.Write(chain.Id);
            writer.Write(chain.Slot);
            writer.Write(chain.SlotCount);
        }
    }

    /// <summary>Reads and checks what <see cref="Save"/> wrote into a fresh queue.</summary>
    internal void Restore(StateReader reader, string section, ulong features)
    {
        Size = (ushort)StateCheck.Range(section, $"size of queue {Index}", reader.ReadUInt16(), 0, MaximumSize);
        Descriptors = reader.ReadUInt64();
        Driver = reader.ReadUInt64();
        Device = reader.ReadUInt64();
        IsEnabled = reader.ReadBool();
        IsResetting = reader.ReadBool();
        if (!reader.ReadBool())
            return;
        Start(features);
        _ring!.Restore(reader);
        bool wasFaulty = reader.ReadBool();
        int count = (int)StateCheck.Range(section, $"chains of queue {Index}", reader.ReadInt32(), 0, MaximumSize);
        for (int i = 0; i < count; i++)
        {
            ushort id = reader.ReadUInt16();
            ushort slot = reader.ReadUInt16();
            ushort slots = reader.ReadUInt16();
            if (slot >= Size || slots == 0 || slots > Size)
                throw new InvalidDataException($"section {section}: a chain of queue {Index} has {slots} descriptors from {slot}; the queue has {Size}");
            _taken.Add(new VirtioChain(_memory) { Queue = Index, Id = id, Slot = slot, SlotCount = slots });
        }

        if (wasFaulty)
            _ring.MarkFaulty("the driver had broken a rule before the machine was saved");
    }

    /// <summary>Takes over what a fresh queue has restored.</summary>
    internal void Adopt(VirtioQueue restored)
    {
        Size = restored.Size;
        Descriptors = restored.Descriptors;
        Driver = restored.Driver;
        Device = restored.Device;
        IsEnabled = restored.IsEnabled;
        IsResetting = restored.IsResetting;
        _ring = restored._ring;
        _taken.Clear();
        _taken.AddRange(restored._taken);
        _takenSlots = _taken.Sum(chain => chain.SlotCount);
    }

    /// <summary>Reads a restored chain from guest memory once more, so that its work can begin anew.</summary>
    /// <returns>False when the driver has broken a rule since.</returns>
    internal bool Reread(VirtioChain chain)
    {
        (ushort id, ushort count) = (chain.Id, chain.SlotCount);
        if (_ring is not { Fault: null } || !_ring.Reread(chain))
            return false;
        if (chain.Id == id && chain.SlotCount == count)
            return true;
        _ring.MarkFaulty($"the chain {id} was changed while the device had it");
        return false;
    }

    private bool Refuse()
    {
        _ring!.MarkFaulty($"more than the {Size} descriptors of the queue are available at once");
        return false;
    }
}
