using System.Buffers.Binary;
using Doppel.Machine.Memory;

namespace Doppel.Devices.Virtio;

/// <summary>The split layout (virtio 1.2, 2.7): a descriptor table, an available ring and a used ring.</summary>
internal sealed class SplitRing : VirtioRing
{
    private const ushort NoNotify = 1;
    private const ushort NoInterrupt = 1;

    internal SplitRing(GuestMemory memory, VirtioQueueLayout layout, ulong features)
        : base(memory, layout, features)
    {
        ulong size = layout.Size;
        if (size == 0 || !ulong.IsPow2(size))
            Fault = $"a split queue has {size} descriptors; a power of two would be right";
        else if (layout.Descriptors % 16 != 0 || layout.Driver % 2 != 0 || layout.Device % 4 != 0)
            Fault = "an area of the queue is not aligned";
        else if (!memory.IsRam(layout.Descriptors, size * DescriptorSize) || !memory.IsRam(layout.Driver, 6 + (2 * size)) || !memory.IsRam(layout.Device, 6 + (8 * size)))
            Fault = "an area of the queue is not RAM";
    }

    internal override bool HasAvailable => Fault is null && Read16(Layout.Driver + 2) != NextAvailable;

    private int Mask => Layout.Size - 1;

    internal override bool TryTake(VirtioChain chain)
    {
        if (Fault is not null)
            return false;
        ushort index = Read16(Layout.Driver + 2);
        ushort waiting = (ushort)(index - NextAvailable);
        if (waiting == 0)
            return false;
        if (waiting > Layout.Size)
            return Break($"the available index is {index}, {waiting} ahead of the device in a queue of {Layout.Size}");
        chain.Slot = Read16(Layout.Driver + 4 + (2 * (ulong)(NextAvailable & Mask)));
        if (!Reread(chain))
            return false;
        NextAvailable++;
        return true;
    }

    internal override bool Reread(VirtioChain chain)
    {
        chain.Clear();
        chain.Id = chain.Slot;
        chain.SlotCount = 1;
        return ReadRing(chain, chain.Slot);
    }

    internal override void Return(VirtioChain chain, uint written)
    {
        chain.Written = written;
        Return([chain]);
    }

    internal override void Return(ReadOnlySpan<VirtioChain> chains)
    {
        if (Fault is not null)
            return;
        Span<byte> element = stackalloc byte[8];
        foreach (VirtioChain chain in chains)
        {
            BinaryPrimitives.WriteUInt32LittleEndian(element, chain.Id);
            BinaryPrimitives.WriteUInt32LittleEndian(element[4..], chain.Written);
            _ = Memory.TryWrite(Layout.Device + 4 + (8 * (ulong)(NextUsed & Mask)), element);
            NextUsed++;
        }

        Write16(Layout.Device + 2, NextUsed);
    }

    internal override void GiveBack(VirtioChain chain) => NextAvailable--;

    internal override bool TakeInterrupt()
    {
        if (Fault is not null || (HasSignalled && SignalledUsed == NextUsed))
            return false;
        ushort before = SignalledUsed;
        bool wasValid = HasSignalled;
        SignalledUsed = NextUsed;
        HasSignalled = true;
        return UsesEventIndex
            ? !wasValid || Passed(Read16(Layout.Driver + 4 + (2 * (ulong)Layout.Size)), NextUsed, before)
            : (Read16(Layout.Driver) & NoInterrupt) == 0;
    }

    internal override void SetNotifications(bool wanted)
    {
        if (Fault is not null)
            return;
        if (!UsesEventIndex)
            Write16(Layout.Device, wanted ? (ushort)0 : NoNotify);
        else if (wanted)
            Write16(Layout.Device + 4 + (8 * (ulong)Layout.Size), NextAvailable);
    }

    protected override bool ReadTable(VirtioChain chain, ReadOnlySpan<byte> table)
    {
        int count = table.Length / DescriptorSize, index = 0;
        for (int seen = 0; seen < count; seen++)
        {
            if (index >= count)
                return Break($"descriptor {index} does not exist in a table of {count}");
            ReadOnlySpan<byte> descriptor = table.Slice(index * DescriptorSize, DescriptorSize);
            if ((BinaryPrimitives.ReadUInt16LittleEndian(descriptor[12..]) & IsIndirect) != 0)
                return Break("a table of descriptors leads to another one");
            if (!AddOne(chain, descriptor, out bool isLast) || isLast)
                return isLast;
            index = BinaryPrimitives.ReadUInt16LittleEndian(descriptor[14..]);
        }

        return Break("descriptors form a loop");
    }

    private bool ReadRing(VirtioChain chain, int index)
    {
        Span<byte> descriptor = stackalloc byte[DescriptorSize];
        for (int seen = 0; seen < Layout.Size; seen++)
        {
            if (index >= Layout.Size)
                return Break($"descriptor {index} does not exist in a table of {Layout.Size}");
            _ = Memory.TryRead(Layout.Descriptors + ((ulong)index * DescriptorSize), descriptor);
            ushort flags = BinaryPrimitives.ReadUInt16LittleEndian(descriptor[12..]);
            if ((flags & IsIndirect) != 0)
                return ReadIndirect(chain, BinaryPrimitives.ReadUInt64LittleEndian(descriptor), BinaryPrimitives.ReadUInt32LittleEndian(descriptor[8..]), flags);
            if (!AddOne(chain, descriptor, out bool isLast) || isLast)
                return isLast;
            index = BinaryPrimitives.ReadUInt16LittleEndian(descriptor[14..]);
        }

        return Break("descriptors form a loop");
    }

    /// <summary>Adds a descriptor.</summary>
    /// <param name="chain">The chain.</param>
    /// <param name="descriptor">The descriptor.</param>
    /// <param name="isLast">True when it was added and no other follows.</param>
    /// <returns>False when it breaks a rule.</returns>
    private bool AddOne(VirtioChain chain, ReadOnlySpan<byte> descriptor, out bool isLast)
    {
        ushort flags = BinaryPrimitives.ReadUInt16LittleEndian(descriptor[12..]);
        bool isGood = Add(chain, BinaryPrimitives.ReadUInt64LittleEndian(descriptor), BinaryPrimitives.ReadUInt32LittleEndian(descriptor[8..]), flags);
        isLast = isGood && (flags & HasNext) == 0;
        return isGood;
    }
}
