using System.Buffers.Binary;
using Doppel.Machine.Memory;

namespace Doppel.Devices.Virtio;

/// <summary>The packed layout (virtio 1.2, 2.8): one descriptor ring, and two words about notifications.</summary>
internal sealed class PackedRing : VirtioRing
{
    private const ushort Available = 1 << 7;
    private const ushort Used = 1 << 15;
    private const ushort EventsOn = 0, EventsOff = 1, EventAtDescriptor = 2;

    internal PackedRing(GuestMemory memory, VirtioQueueLayout layout, ulong features)
        : base(memory, layout, features)
    {
        ulong size = layout.Size;
        if (size is 0 or > 32768)
            Fault = $"a packed queue has {size} descriptors; 1 to 32768 would be right";
        else if (layout.Descriptors % 16 != 0 || layout.Driver % 4 != 0 || layout.Device % 4 != 0)
            Fault = "an area of the queue is not aligned";
        else if (!memory.IsRam(layout.Descriptors, size * DescriptorSize) || !memory.IsRam(layout.Driver, 4) || !memory.IsRam(layout.Device, 4))
            Fault = "an area of the queue is not RAM";
    }

    internal override bool HasAvailable
    {
        get
        {
            if (Fault is not null)
                return false;
            ushort flags = Read16(AddressOf(NextAvailable) + 14);
            return ((flags & Available) != 0) == AvailableWrap && ((flags & Used) != 0) != AvailableWrap;
        }
    }

    internal override bool TryTake(VirtioChain chain)
    {
        // The flags are read before the rest: the driver writes them last.
        if (!HasAvailable)
            return false;
        chain.Slot = NextAvailable;
        if (!Reread(chain))
            return false;
        int next = NextAvailable + chain.SlotCount;
        if (next >= Layout.Size)
        {
            next -= Layout.Size;
            AvailableWrap = !AvailableWrap;
        }

        NextAvailable = (ushort)next;
        return true;
    }

    internal override bool Reread(VirtioChain chain)
    {
        chain.Clear();
        Span<byte> descriptor = stackalloc byte[DescriptorSize];
        int slot = chain.Slot;
        for (ushort count = 1; count <= Layout.Size; count++)
        {
            _ = Memory.TryRead(AddressOf(slot), descriptor);
            ulong address = BinaryPrimitives.ReadUInt64LittleEndian(descriptor);
            uint length = BinaryPrimitives.ReadUInt32LittleEndian(descriptor[8..]);
            ushort flags = BinaryPrimitives.ReadUInt16LittleEndian(descriptor[14..]);
            bool isGood = (flags & IsIndirect) != 0 ? ReadIndirect(chain, address, length, flags) : Add(chain, address, length, flags);
            if (!isGood)
                return false;
            if ((flags & HasNext) == 0)
            {
                // The id is in the last descriptor (2.8.6).
                chain.Id = BinaryPrimitives.ReadUInt16LittleEndian(descriptor[12..]);
                chain.SlotCount = count;
                return true;
            }

            slot = slot + 1 == Layout.Size ? 0 : slot + 1;
        }

        return Break("descriptors form a loop");
    }

    internal override void Return(VirtioChain chain, uint written)
    {
        chain.Written = written;
        Return([chain]);
    }

    internal override void Return(ReadOnlySpan<VirtioChain> chains)
    {
        if (Fault is not null || chains.IsEmpty)
            return;
        ulong firstAddress = AddressOf(NextUsed);
        ushort firstFlags = 0;
        Span<byte> head = stackalloc byte[6];
        for (int i = 0; i < chains.Length; i++)
        {
            ulong address = AddressOf(NextUsed);
            BinaryPrimitives.WriteUInt32LittleEndian(head, chains[i].Written);
            BinaryPrimitives.WriteUInt16LittleEndian(head[4..], chains[i].Id);
            _ = Memory.TryWrite(address + 8, head);
            ushort flags = (ushort)((UsedWrap ? Available | Used : 0) | (chains[i].Written != 0 ? IsWritable : 0));
            if (i == 0)
                firstFlags = flags;
            else
                Write16(address + 14, flags);
            MoveUsed(chains[i].SlotCount);
        }

        // The driver looks at them in order, so the first shows all.
        Write16(firstAddress + 14, firstFlags);
    }

    internal override void GiveBack(VirtioChain chain)
    {
        int previous = NextAvailable - chain.SlotCount;
        if (previous < 0)
        {
            previous += Layout.Size;
            AvailableWrap = !AvailableWrap;
        }

        NextAvailable = (ushort)previous;
    }

    internal override bool TakeInterrupt()
    {
        if (Fault is not null || (HasSignalled && SignalledUsed == NextUsed))
            return false;
        ushort before = SignalledUsed;
        bool wasValid = HasSignalled;
        SignalledUsed = NextUsed;
        HasSignalled = true;
        ushort flags = (ushort)(Read16(Layout.Driver + 2) & 3);
        if (flags != EventAtDescriptor || !UsesEventIndex)
            return flags != EventsOff;
        ushort offsetAndWrap = Read16(Layout.Driver);
        int wanted = offsetAndWrap & 0x7FFF;
        if ((offsetAndWrap & 0x8000) != 0 != UsedWrap)
            wanted -= Layout.Size;
        return !wasValid || Passed((ushort)wanted, NextUsed, before);
    }

    internal override void SetNotifications(bool wanted)
    {
        if (Fault is not null)
            return;
        if (wanted && UsesEventIndex)
        {
            Write16(Layout.Device, (ushort)(NextAvailable | (AvailableWrap ? 0x8000 : 0)));
            Write16(Layout.Device + 2, EventAtDescriptor);
        }
        else
        {
            Write16(Layout.Device + 2, wanted ? EventsOn : EventsOff);
        }
    }

    protected override bool ReadTable(VirtioChain chain, ReadOnlySpan<byte> table)
    {
        for (; !table.IsEmpty; table = table[DescriptorSize..])
        {
            ushort flags = BinaryPrimitives.ReadUInt16LittleEndian(table[14..]);
            if ((flags & IsIndirect) != 0)
                return Break("a table of descriptors leads to another one");
            if (!Add(chain, BinaryPrimitives.ReadUInt64LittleEndian(table), BinaryPrimitives.ReadUInt32LittleEndian(table[8..]), flags))
                return false;
        }

        return true;
    }

    protected override void CheckPositions()
    {
        if (Fault is null && (NextAvailable >= Layout.Size || NextUsed >= Layout.Size))
            throw new InvalidDataException($"a packed queue of {Layout.Size} descriptors is at {NextAvailable} and {NextUsed}");
    }

    private void MoveUsed(int slots)
    {
        int next = NextUsed + slots;
        if (next >= Layout.Size)
        {
            next -= Layout.Size;
            UsedWrap = !UsedWrap;
            // The position before the wrap can't be compared with those after it.
            HasSignalled = false;
        }

        NextUsed = (ushort)next;
    }

    private ulong AddressOf(int slot) => Layout.Descriptors + ((ulong)slot * DescriptorSize);
}
