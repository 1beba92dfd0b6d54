using System.Buffers.Binary;
using Doppel.Machine.Memory;

namespace Doppel.Devices.Tests.Virtio;

/// <summary>A piece of memory that a driver gives to a device.</summary>
public readonly record struct DriverBuffer(ulong Address, uint Length, bool IsWritable = false);

/// <summary>A driver's side of a queue: adds chains, notifies when the device wants it, collects what was used.</summary>
public abstract class DriverQueue
{
    private IVirtioAccess _access;
    private readonly ulong _tables;

    protected DriverQueue(IVirtioAccess access, GuestMemory memory, int index, int size, ulong area, ulong tables, bool usesEventIndex)
    {
        _access = access;
        Memory = memory;
        Index = index;
        Size = size;
        Area = area;
        _tables = tables;
        UsesEventIndex = usesEventIndex;
    }

    public int Index { get; }

    public int Size { get; }

    /// <summary>First byte of the queue's own memory.</summary>
    public ulong Area { get; }

    public abstract ulong Descriptors { get; }

    public abstract ulong DriverArea { get; }

    public abstract ulong DeviceArea { get; }

    public abstract int FreeSlots { get; }

    protected GuestMemory Memory { get; private set; }

    protected bool UsesEventIndex { get; }

    /// <summary>Makes a chain available without telling the device.</summary>
    /// <returns>What the chain is known by.</returns>
    public abstract int Add(IReadOnlyList<DriverBuffer> buffers, bool isIndirect = false);

    /// <summary>Takes a chain that the device has used.</summary>
    public abstract bool TryGetUsed(out int id, out uint written);

    /// <summary>Asks for an interrupt at the next used chain, or for none.</summary>
    public abstract void WantInterrupt(bool wanted);

    /// <summary>True when the device wants to be told of what was added since the last kick.</summary>
    public abstract bool DeviceWantsNotification();

    public void Kick()
    {
        if (DeviceWantsNotification())
            _access.Notify(Index);
    }

    public void Notify() => _access.Notify(Index);

    /// <summary>The same queue of a machine that has been moved; the old one must not be used any more.</summary>
    public DriverQueue MoveTo(IVirtioAccess access, GuestMemory memory)
    {
        var copy = (DriverQueue)MemberwiseClone();
        copy._access = access;
        copy.Memory = memory;
        return copy;
    }

    protected ulong TableOf(int id) => _tables + ((ulong)id * 64 * 16);

    protected ushort Get16(ulong address)
    {
        byte[] bytes = new byte[2];
        Assert.True(Memory.TryRead(address, bytes));
        return BinaryPrimitives.ReadUInt16LittleEndian(bytes);
    }

    protected uint Get32(ulong address)
    {
        byte[] bytes = new byte[4];
        Assert.True(Memory.TryRead(address, bytes));
        return BinaryPrimitives.ReadUInt32LittleEndian(bytes);
    }

    protected void Put16(ulong address, int value) => Assert.True(Memory.TryWrite(address, BitConverter.GetBytes((ushort)value)));

    protected void PutDescriptor(ulong address, ulong buffer, uint length, int third, int fourth)
    {
        byte[] bytes = new byte[16];
        BinaryPrimitives.WriteUInt64LittleEndian(bytes, buffer);
        BinaryPrimitives.WriteUInt32LittleEndian(bytes.AsSpan(8), length);
        BinaryPrimitives.WriteUInt16LittleEndian(bytes.AsSpan(12), (ushort)third);
        BinaryPrimitives.WriteUInt16LittleEndian(bytes.AsSpan(14), (ushort)fourth);
        Assert.True(Memory.TryWrite(address, bytes));
    }

    protected static bool Passed(int wanted, int now, int before) => (ushort)(now - wanted - 1) < (ushort)(now - before);
}
