using Doppel.Devices.Pc;
using Doppel.Machine.Memory;
using Doppel.Machine.State;

namespace Doppel.Devices.Tests.Floppy;

/// <summary>The 8237A controllers, by their data sheet.</summary>
public sealed class DmaPairTests : IDisposable
{
    private readonly GuestMemory _memory = new(1 << 20);
    private readonly byte[] _pages = new byte[16];
    private readonly DmaPair _dma;

    public DmaPairTests() => _dma = new DmaPair(_memory, i => _pages[i]);

    public void Dispose() => _memory.Dispose();

    [Fact]
    public void Addresses_and_counts_go_through_the_flip_flop()
    {
        _dma.Out(0x0C, 0);
        _dma.Out(0x02, 0x34);
        _dma.Out(0x02, 0x12);
        _dma.Out(0x03, 0x78);
        _dma.Out(0x03, 0x56);
        Assert.Equal([0x34, 0x12, 0x78, 0x56], new[] { _dma.In(2), _dma.In(2), _dma.In(3), _dma.In(3) }.Select(b => (int)b));
        _ = _dma.In(2);
        _dma.Out(0x0C, 0);
        Assert.Equal(0x34, _dma.In(2));
        // The second controller's registers are two ports apart.
        _dma.Out(0xD8, 0);
        _dma.Out(0xC4, 0x11);
        _dma.Out(0xC4, 0x22);
        _dma.Out(0xD8, 0);
        Assert.Equal([0x11, 0x22], new[] { _dma.In(0xC4), _dma.In(0xC5) }.Select(b => (int)b));
    }

    [Theory]
    [InlineData(0x44, 1)]
    [InlineData(0x64, -1)]
    public void Bytes_go_to_memory_until_the_count_runs_out(int mode, int step)
    {
        Program(1, 0x8000, 3, mode | 1, page: 5);
        Assert.Equal(4, _dma.Channel(1).Transfer([1, 2, 3, 4, 5, 6], toMemory: true, out bool terminal));
        Assert.True(terminal);
        byte[] bytes = new byte[9];
        Assert.True(_memory.TryRead(0x5_8000 - 4, bytes));
        Assert.Equal([1, 2, 3, 4], Enumerable.Range(0, 4).Select(i => bytes[4 + (i * step)]));
        // The status shows it once; the channel has masked itself.
        Assert.Equal(2, _dma.In(8));
        Assert.Equal(0, _dma.In(8));
        Assert.Equal(0, _dma.Channel(1).Transfer(new byte[1], toMemory: true, out _));
        Assert.Equal(0xFF, _dma.In(0x0F));
        Assert.Equal([0xFF, 0xFF], ReadCount(1));
    }

    [Fact]
    public void An_address_stays_on_its_page()
    {
        Assert.True(_memory.TryWrite(0x3_FFFF, [7]));
        Assert.True(_memory.TryWrite(0x3_0000, [8]));
        Program(3, 0xFFFF, 1, 0x4B, page: 3);
        byte[] data = new byte[2];
        Assert.Equal(2, _dma.Channel(3).Transfer(data, toMemory: false, out _));
        Assert.Equal([7, 8], data);
    }

    [Fact]
    public void Words_have_a_page_of_128_KiB()
    {
        _pages[0xB] = 3;
        _dma.Out(0xD8, 0);
        _dma.Out(0xC4, 0x00);
        _dma.Out(0xC4, 0x80);
        _dma.Out(0xC6, 1);
        _dma.Out(0xC6, 0);
        _dma.Out(0xD6, 0x45);
        _dma.Out(0xD4, 1);
        Assert.Equal(4, _dma.Channel(5).Transfer([1, 2, 3, 4], toMemory: true, out bool terminal));
        Assert.True(terminal);
        byte[] bytes = new byte[4];
        Assert.True(_memory.TryRead(0x3_0000, bytes));
        Assert.Equal([1, 2, 3, 4], bytes);
    }

    [Fact]
    public void A_channel_that_initializes_itself_begins_again()
    {
        Program(2, 0x100, 1, 0x56, page: 0);
        Assert.Equal(2, _dma.Channel(2).Transfer([1, 2, 3], toMemory: true, out bool terminal));
        Assert.True(terminal);
        Assert.Equal(1, _dma.Channel(2).Transfer([9], toMemory: true, out terminal));
        Assert.False(terminal);
        byte[] bytes = new byte[2];
        Assert.True(_memory.TryRead(0x100, bytes));
        Assert.Equal([9, 2], bytes);
    }

    [Fact]
    public void What_is_not_programmed_for_it_moves_nothing()
    {
        Program(2, 0x100, 10, 0x46, page: 0);
        IDmaChannel channel = _dma.Channel(2);
        Assert.Equal(0, channel.Transfer(new byte[4], toMemory: false, out _));
        _dma.Out(8, 4);
        Assert.Equal(0, channel.Transfer(new byte[4], toMemory: true, out _));
        _dma.Out(8, 0);
        channel.SetRequest(true);
        Assert.Equal(0x40, _dma.In(8));
        channel.SetRequest(false);
        _dma.Out(0x0D, 0);
        Assert.Equal(0, channel.Transfer(new byte[4], toMemory: true, out _));
        _dma.Out(0x0E, 0);
        // A verify transfer counts and moves nothing.
        _dma.Out(0x0B, 0x42);
        Assert.Equal(4, channel.Transfer(new byte[4], toMemory: true, out _));
        // Memory that isn't there.
        Program(2, 0, 10, 0x4A, page: 0xFF);
        byte[] data = new byte[3];
        Assert.Equal(3, channel.Transfer(data, toMemory: false, out _));
        Assert.Equal([0xFF, 0xFF, 0xFF], data);
        _ = Assert.Throws<ArgumentOutOfRangeException>(() => _dma.Channel(4));
    }

    [Fact]
    public void The_state_is_saved()
    {
        Program(2, 0x1234, 0x777, 0x56, page: 0);
        _ = _dma.In(4);
        var writer = new StateWriter();
        _dma.Save(writer);
        var other = new DmaPair(_memory, i => _pages[i]);
        other.Restore(new StateReader(writer.ToArray()), 1);
        Assert.Equal(0x12, other.In(4));
        Assert.Equal(0x77, other.In(5));
        Assert.Equal(2, other.Channel(2).Transfer([1, 2], toMemory: true, out _));
    }

    private void Program(int channel, int address, int count, int mode, int page)
    {
        _pages[(int[])[7, 3, 1, 2] is var ports ? ports[channel] : 0] = (byte)page;
        _dma.Out(0x0C, 0);
        _dma.Out(2 * channel, (byte)address);
        _dma.Out(2 * channel, address >> 8);
        _dma.Out((2 * channel) + 1, (byte)count);
        _dma.Out((2 * channel) + 1, count >> 8);
        _dma.Out(0x0B, mode);
        _dma.Out(0x0A, channel);
    }

    private byte[] ReadCount(int channel)
    {
        _dma.Out(0x0C, 0);
        return [_dma.In((2 * channel) + 1), _dma.In((2 * channel) + 1)];
    }
}
