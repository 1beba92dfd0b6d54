using System.Buffers.Binary;
using Doppel.Devices.Pc;
using Doppel.Machine.Memory;
using Doppel.Machine.State;

namespace Doppel.Devices.Tests.Pc;

/// <summary>The part of fw_cfg that copies to and from memory.</summary>
public sealed class FirmwareConfigurationTests : IDisposable
{
    private const uint Error = 1, Read = 2, Skip = 4, Select = 8, Write = 16;
    private const ulong Description = 0x1000, Buffer = 0x2000;
    private readonly GuestMemory _memory = new(1 << 20);
    private readonly FirmwareConfiguration _device;
    private readonly List<byte[]> _written = [];

    public FirmwareConfigurationTests() => _device = new FirmwareConfiguration(_memory)
        .AddFile("opt/read", [1, 2, 3, 4, 5])
        .AddWritableFile("opt/write", new byte[4], content => _written.Add([.. content]));

    public void Dispose() => _memory.Dispose();

    [Fact]
    public void Its_signature_and_feature_bit_are_there()
    {
        Assert.Equal((byte)'Q', _device.In(0x514));
        Assert.Equal((byte)'G', _device.In(0x51B));
        Assert.Equal(3, Copy(Select | Read | (1 << 16), 4)[0]);
    }

    [Fact]
    public void Parts_of_a_file_are_copied_with_zeros_behind_its_end()
    {
        Assert.Equal([1, 2], Copy(Select | Read | (0x20 << 16), 2));
        Assert.Empty(Copy(Skip, 1)[1..]);
        Assert.Equal([4, 5, 0, 0], Copy(Read, 4));
        Assert.Equal([0], Copy(Read, 1));
    }

    [Fact]
    public void A_file_that_is_writable_takes_what_fits_and_keeps_it()
    {
        _memory.TryWrite(Buffer, [9, 8, 7, 6]);
        Assert.Equal(0u, Transfer(Select | Write | (0x21 << 16), 4, Buffer));
        Assert.Equal([9, 8, 7, 6], Assert.Single(_written));
        Assert.Equal(Error, Transfer(Write, 1, Buffer));
        Assert.Equal(Error, Transfer(Select | Write | (0x20 << 16), 1, Buffer));
        var state = new StateWriter();
        _device.Save(state);
        List<byte[]> restored = [];
        var other = new FirmwareConfiguration(_memory).AddFile("opt/read", [1, 2, 3, 4, 5]).AddWritableFile("opt/write", new byte[4], content => restored.Add([.. content]));
        other.Restore(new StateReader(state.ToArray()), other.SectionVersion);
        Assert.Equal([9, 8, 7, 6], Assert.Single(restored));
    }

    [Theory]
    [InlineData(0x100000UL, 1u)]
    [InlineData(0xFFFFFUL, 2u)]
    [InlineData(ulong.MaxValue, 1u)]
    [InlineData(0UL, uint.MaxValue)]
    public void What_is_no_memory_is_an_error(ulong address, uint length) =>
        Assert.Equal(Error, Transfer(Select | Read | (0x20 << 16), length, address));

    [Fact]
    public void A_description_that_is_no_memory_is_left_alone()
    {
        _device.Out32(0x514, uint.MaxValue);
        _device.Out32(0x518, uint.MaxValue);
        Assert.Equal([1], Copy(Select | Read | (0x20 << 16), 1));
    }

    [Fact]
    public void A_state_of_version_1_is_read()
    {
        var state = new StateWriter();
        state.Write((ushort)0x20);
        state.Write(3);
        _device.Restore(new StateReader(state.ToArray()), 1);
        Assert.Equal([4], Copy(Read, 1));
    }

    private byte[] Copy(uint control, int length)
    {
        Assert.Equal(0u, Transfer(control, (uint)length, Buffer));
        var bytes = new byte[length];
        Assert.True(_memory.TryRead(Buffer, bytes));
        return bytes;
    }

    private uint Transfer(uint control, uint length, ulong address)
    {
        var description = new byte[16];
        BinaryPrimitives.WriteUInt32BigEndian(description, control);
        BinaryPrimitives.WriteUInt32BigEndian(description.AsSpan(4), length);
        BinaryPrimitives.WriteUInt64BigEndian(description.AsSpan(8), address);
        Assert.True(_memory.TryWrite(Description, description));
        _device.Out32(0x518, BinaryPrimitives.ReverseEndianness((uint)Description));
        Assert.True(_memory.TryRead(Description, description));
        return BinaryPrimitives.ReadUInt32BigEndian(description);
    }
}
