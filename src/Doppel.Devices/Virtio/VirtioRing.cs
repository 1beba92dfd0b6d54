using System.Buffers.Binary;
using System.Numerics;
using Doppel.Machine.Memory;
using Doppel.Machine.State;

namespace Doppel.Devices.Virtio;

/// <summary>
/// One layout of a queue in guest memory, as the device sees it: takes what the driver has made available, and returns it
/// used. Whatever the driver wrote is checked here; a broken rule ends in <see cref="Fault"/>, and nothing more is taken.
/// </summary>
internal abstract class VirtioRing
{
    protected const ushort HasNext = 1;
    protected const ushort IsWritable = 2;
    protected const ushort IsIndirect = 4;
    protected const int DescriptorSize = 16;

    private byte[] _table = [];

    protected VirtioRing(GuestMemory memory, VirtioQueueLayout layout, ulong features)
    {
        Memory = memory;
        Layout = layout;
        UsesEventIndex = (features & VirtioFeature.EventIndex) != 0;
        AllowsIndirect = (features & VirtioFeature.IndirectDescriptors) != 0;
    }

    /// <summary>The rule that the driver has broken; null while it has broken none.</summary>
    internal string? Fault { get; private protected set; }

    protected GuestMemory Memory { get; }

    protected VirtioQueueLayout Layout { get; }

    protected bool UsesEventIndex { get; }

    protected bool AllowsIndirect { get; }

    /// <summary>Where the driver makes the next chain available.</summary>
    protected ushort NextAvailable { get; set; }

    /// <summary>Where the next used chain is returned.</summary>
    protected ushort NextUsed { get; set; }

    /// <summary>The driver's wrap counter at <see cref="NextAvailable"/> (packed ring).</summary>
    protected bool AvailableWrap { get; set; } = true;

    /// <summary>The device's wrap counter at <see cref="NextUsed"/> (packed ring).</summary>
    protected bool UsedWrap { get; set; } = true;

    /// <summary><see cref="NextUsed"/> when an interrupt was last considered.</summary>
    protected ushort SignalledUsed { get; set; }

    /// <summary>False when <see cref="SignalledUsed"/> says nothing, so that the next interrupt is sent in any case.</summary>
    protected bool HasSignalled { get; set; }

    /// <summary>True when the driver has made something available that has not been taken.</summary>
    internal abstract bool HasAvailable { get; }

    /// <summary>Takes the next chain.</summary>
    /// <returns>False when there is none, or when a rule was broken.</returns>
    internal abstract bool TryTake(VirtioChain chain);

    /// <summary>Reads a chain once more that was taken before, as <see cref="VirtioChain.Slot"/> says.</summary>
    /// <returns>False when a rule was broken.</returns>
    internal abstract bool Reread(VirtioChain chain);

    /// <summary>Returns a chain to the driver.</summary>
    internal abstract void Return(VirtioChain chain, uint written);

    /// <summary>Returns chains with their <see cref="VirtioChain.Written"/> so that the driver sees all of them or none.</summary>
    internal abstract void Return(ReadOnlySpan<VirtioChain> chains);

    /// <summary>Makes the chain that was taken last available again, as if it had not been taken.</summary>
    internal abstract void GiveBack(VirtioChain chain);

    /// <summary>True when the driver wants an interrupt for what was returned since the last call.</summary>
    internal abstract bool TakeInterrupt();

    /// <summary>Asks the driver to notify from now on, or not to. It may do so all the same.</summary>
    internal abstract void SetNotifications(bool wanted);

    /// <summary>Notes that the driver has broken a rule.</summary>
    internal void MarkFaulty(string rule) => Fault ??= rule;

    internal void Save(StateWriter writer)
    {
        writer.Write(NextAvailable);
        writer.Write(NextUsed);
        writer.Write(AvailableWrap);
        writer.Write(UsedWrap);
        writer.Write(SignalledUsed);
        writer.Write(HasSignalled);
    }

    internal void Restore(StateReader reader)
    {
        NextAvailable = reader.ReadUInt16();
        NextUsed = reader.ReadUInt16();
        AvailableWrap = reader.ReadBool();
        UsedWrap = reader.ReadBool();
        SignalledUsed = reader.ReadUInt16();
        HasSignalled = reader.ReadBool();
        CheckPositions();
    }

    /// <summary>Throws when restored positions can't be.</summary>
    protected virtual void CheckPositions()
    {
    }

    /// <summary>Adds the descriptors of an indirect table to a chain.</summary>
    /// <param name="chain">The chain.</param>
    /// <param name="table">A copy of the table, which the driver can't change any more.</param>
    protected abstract bool ReadTable(VirtioChain chain, ReadOnlySpan<byte> table);

    protected bool ReadIndirect(VirtioChain chain, ulong address, uint length, ushort flags)
    {
        if (!AllowsIndirect)
            return Break("an indirect descriptor was not agreed on");
        if ((flags & HasNext) != 0)
            return Break("an indirect descriptor has a next one");
        if (length == 0 || length % DescriptorSize != 0 || length / DescriptorSize > VirtioChain.MaximumBuffers)
            return Break($"a table of descriptors has {length} bytes");
        if (_table.Length < length)
            _table = new byte[BitOperations.RoundUpToPowerOf2(length)];
        Span<byte> table = _table.AsSpan(0, (int)length);
        if (!Memory.IsRam(address, length) || !Memory.TryRead(address, table))
            return Break($"the table of descriptors 0x{address:x}+0x{length:x} is not RAM");
        return ReadTable(chain, table);
    }

    protected bool Add(VirtioChain chain, ulong address, uint length, ushort flags) =>
        chain.Add(address, length, (flags & IsWritable) != 0) is not string rule || Break(rule);

    /// <summary>Notes a broken rule.</summary>
    /// <returns>False.</returns>
    protected bool Break(string rule)
    {
        Fault ??= rule;
        return false;
    }

    // The areas were checked to be RAM when the ring was made, so these can't fail.
    protected ushort Read16(ulong address)
    {
        Span<byte> bytes = stackalloc byte[2];
        _ = Memory.TryRead(address, bytes);
        return BinaryPrimitives.ReadUInt16LittleEndian(bytes);
    }

    protected void Write16(ulong address, ushort value)
    {
        Span<byte> bytes = stackalloc byte[2];
        BinaryPrimitives.WriteUInt16LittleEndian(bytes, value);
        _ = Memory.TryWrite(address, bytes);
    }

    /// <summary>True when an index that the other side wants to hear of lies between two positions (virtio 1.2, 2.7.7.2).</summary>
    protected static bool Passed(ushort wanted, ushort now, ushort before) =>
        (ushort)(now - wanted - 1) < (ushort)(now - before);
}
