using Doppel.Machine.Bus;
using Doppel.Machine.Memory;

namespace Doppel.Machine.Tests.Memory;

/// <summary>Memory of a device that a guest reaches as its own.</summary>
public sealed class DeviceRamTests : IDisposable
{
    private const ulong Place = 0xD000_0000;
    private readonly GuestMemory _memory = new(16 << 20);
    private readonly PhysicalAddressSpace _physical;
    private readonly DeviceRam _device;

    public DeviceRamTests()
    {
        _physical = new PhysicalAddressSpace(_memory, new IoBus("mmio", 1UL << 40, new Lock()));
        _device = new DeviceRam("test-device", 1 << 20, _physical);
    }

    public void Dispose()
    {
        _device.Dispose();
        _memory.Dispose();
    }

    [Fact]
    public void A_guest_reads_and_writes_what_is_shown()
    {
        _device.Bytes[0x5000] = 0x11;
        Assert.True(_device.TryShow(Place, 0x4000, 0x10000));
        Assert.Equal(0x11u, _physical.Read(Place + 0x1000, 1));
        _physical.Write(Place + 0x1004, 4, 0x12345678);
        Assert.Equal(0x78, _device.Bytes[0x5004]);
        _device.Hide(Place);
        Assert.Equal(0xFFFF_FFFFu, _physical.Read(Place + 0x1004, 4));
        Assert.Equal(0x78, _device.Bytes[0x5004]);
    }

    [Fact]
    public void Pages_that_were_written_are_told_once_from_every_place()
    {
        Assert.True(_device.TryShow(Place, 0, 1 << 20));
        Assert.True(_device.TryShow(Place + (1 << 20), 0x8000, 0x8000));
        _physical.Write(Place + 0x3000, 1, 1);
        _physical.Write(Place + (1 << 20) + 0x1000, 1, 1);
        _device.NoteWrite(0xFFF, 2);
        ulong[] pages = new ulong[4];
        _device.TakeWritten(pages);
        Assert.Equal((1UL << 0) | (1 << 1) | (1 << 3) | (1 << 9), pages[0]);
        Array.Clear(pages);
        _device.TakeWritten(pages);
        Assert.All(pages, word => Assert.Equal(0UL, word));
        _physical.Write(Place + 0x3000, 1, 1);
        _device.Hide(Place);
        _device.TakeWritten(pages);
        Assert.Equal(1UL << 3, pages[0]);
    }

    [Fact]
    public void It_is_no_part_of_the_machines_memory()
    {
        Assert.True(_device.TryShow(Place, 0, 1 << 20));
        _physical.Write(Place, 1, 1);
        _physical.Write(0x2000, 1, 1);
        PageSet dirty = PageSet.For(_memory);
        _memory.TakeDirtyPages(dirty);
        Assert.Equal([(2UL, 1UL)], dirty.Runs());
        Assert.False(_memory.IsRam(Place, 4096));
        // Marks of the device are still there.
        ulong[] pages = new ulong[4];
        _device.TakeWritten(pages);
        Assert.Equal(1UL, pages[0]);
    }

    [Fact]
    public void Nothing_is_shown_over_other_memory()
    {
        Assert.False(_device.TryShow(0x10_0000, 0, 1 << 20));
        _physical.Write(0x10_0000, 1, 0x55);
        Assert.Equal(0, _device.Bytes[0]);
        Assert.True(_device.TryShow(Place, 0, 1 << 20));
        Assert.False(_device.TryShow(Place + 0x1000, 0, 0x1000));
        Assert.False(_device.TryShow(_memory.AddressSpaceSize - 0x1000, 0, 0x2000));
    }
}
