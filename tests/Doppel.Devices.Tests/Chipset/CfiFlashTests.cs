using Doppel.Devices.Chipset;
using Doppel.Machine.Bus;
using Doppel.Machine.Memory;

namespace Doppel.Devices.Tests.Chipset;

/// <summary>The command set of flash memory, through the address space as a guest sees it.</summary>
public sealed class CfiFlashTests : IDisposable
{
    private const ulong Start = 0xFFC0_0000;
    private readonly GuestMemory _memory = new(1 << 20);
    private readonly PhysicalAddressSpace _physical;
    private readonly List<(int Offset, byte[] Bytes)> _changes = [];

    public CfiFlashTests()
    {
        var mmio = new IoBus("mmio", 1UL << 36, new Lock());
        _physical = new PhysicalAddressSpace(_memory, mmio);
        var content = new byte[0x4000];
        content.AsSpan().Fill(0xFF);
        var flash = new CfiFlash(_memory, Start, content, (offset, bytes) => _changes.Add((offset, bytes.ToArray())));
        mmio.Map(((IDevice)flash).Memory);
    }

    public void Dispose() => _memory.Dispose();

    [Fact]
    public void The_array_is_memory_until_a_command_comes()
    {
        Assert.True(_memory.IsMemory(Start));
        Command(0x70);
        Assert.False(_memory.IsMemory(Start));
        Assert.Equal(0x80, Get(0));
        Command(0xFF);
        Assert.True(_memory.IsMemory(Start));
        Assert.Equal(0xFF, Get(0));
        Assert.Empty(_changes);
    }

    [Fact]
    public void Firmware_that_asks_what_it_is_finds_flash()
    {
        Command(0x50);
        Assert.Equal(0xFF, Get(0));
        Command(0x70);
        Assert.Equal(0x00, Get(0));
        Command(0xFF);
    }

    [Fact]
    public void Programming_clears_bits_and_erasing_sets_a_block()
    {
        Program(0x1010, 0xF0);
        Program(0x1010, 0x3C);
        Command(0xFF);
        Assert.Equal(0x30, Get(0x1010));
        Assert.Equal(0x1010, Assert.Single(_changes).Offset);
        Assert.Equal([0x30], _changes[0].Bytes);
        Put(0x1FFF, 0x20);
        Put(0x1FFF, 0xD0);
        Assert.Equal(0x80, Get(0x1010));
        Command(0xFF);
        Assert.Equal(0xFF, Get(0x1010));
        Assert.Equal((0x1000, 4096), (_changes[1].Offset, _changes[1].Bytes.Length));
    }

    [Fact]
    public void A_buffer_takes_bytes_and_a_confirmation()
    {
        Put(0x20, 0xE8);
        Assert.Equal(0x80, Get(0x20));
        Put(0x20, 2);
        Put(0x20, 1);
        Put(0x21, 2);
        Put(0x22, 3);
        Put(0x20, 0xD0);
        Command(0xFF);
        Assert.Equal([1, 2, 3, 0xFF], _memory.GetPage(Start)[0x20..0x24].ToArray());
    }

    [Fact]
    public void A_sequence_that_cannot_be_is_an_error_until_it_is_cleared()
    {
        Put(0, 0x20);
        Put(0, 0x12);
        Command(0x70);
        Assert.Equal(0xB0, Get(0));
        Command(0x50);
        Command(0x70);
        Assert.Equal(0x00, Get(0));
    }

    [Fact]
    public void It_describes_itself()
    {
        Command(0x98);
        Assert.Equal("QRY"u8.ToArray(), new[] { Get(0x10), Get(0x11), Get(0x12) });
        Assert.Equal(14, Get(0x27));
        Assert.Equal(3, Get(0x2D));
        Assert.Equal(0x10, Get(0x2F));
    }

    private void Program(ulong offset, byte value)
    {
        Put(offset, 0x10);
        Put(offset, value);
        Assert.Equal(0x80, Get(offset));
    }

    private void Command(byte value) => Put(0, value);

    private void Put(ulong offset, byte value) => _physical.Write(Start + offset, 1, value);

    private byte Get(ulong offset) => (byte)_physical.Read(Start + offset, 1);
}
