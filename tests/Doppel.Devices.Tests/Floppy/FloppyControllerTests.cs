using Doppel.Devices.Floppy;
using Doppel.Devices.Tests.Virtio;
using Doppel.Machine.Tests;
using Xunit.Abstractions;

namespace Doppel.Devices.Tests.Floppy;

/// <summary>The floppy controller, by the 82077AA's data sheet.</summary>
public sealed class FloppyControllerTests : IDisposable
{
    private readonly ITestOutputHelper _output;
    private readonly MemoryBlockBackend _disk = new(1440 * 1024);
    private readonly FloppyMachine _floppy;

    public FloppyControllerTests(ITestOutputHelper output)
    {
        _output = output;
        new Random(1).NextBytes(_disk.Content);
        _floppy = new FloppyMachine(_disk, null);
        _floppy.Start();
    }

    public void Dispose() => _floppy.Dispose();

    [Fact]
    public void Commands_without_data_answer()
    {
        Assert.Equal([0x90], _floppy.Command(1, 0x10));
        Assert.Equal([0x80], _floppy.Command(1, 0x1F));
        Assert.Equal([0x80], _floppy.Command(1, 0x08));
        Assert.Equal([0x10], _floppy.Command(1, 0x94));
        _ = _floppy.Command(0, 0x13, 0, 0x57, 0);
        Assert.Equal([0, 0, 0, 0, 0xDF, 2, 0, 0x80, 0x57, 0], _floppy.Command(10, 0x0E));
        // What is locked stays over a reset by a register.
        _floppy.Out(0x3F4, 0x80);
        _floppy.Clock.Advance(10_000_000);
        Assert.Equal(0x57, _floppy.Command(10, 0x0E)[8]);
        Assert.Equal([0], _floppy.Command(1, 0x14));
        _ = _floppy.Command(0, 0x12, 0xBF);
        Assert.Equal(0x3F, _floppy.Command(10, 0x0E)[7]);
        _ = _floppy.Command(0, 0x12, 0x00);
        Assert.Equal(0x3C, _floppy.Command(10, 0x0E)[7]);
        // Ready, two-sided, at track 0.
        Assert.Equal([0x38], _floppy.Command(1, 0x04, 0x00));
        _disk.IsReadOnly = true;
        Assert.Equal([0x7C], _floppy.Command(1, 0x04, 0x04));
    }

    [Fact]
    public void Heads_are_moved_and_tell_it_by_an_interrupt()
    {
        _ = _floppy.Command(0, 0x0F, 0x04, 40);
        Assert.False(_floppy.Line.Level);
        Assert.Equal(0x81, _floppy.In(0x3F4));
        _floppy.WaitForInterrupt();
        Assert.Equal([0x24, 40], _floppy.Command(2, 0x08));
        Assert.False(_floppy.Line.Level);
        Assert.Equal([0x28], _floppy.Command(1, 0x04, 0x00));
        _ = _floppy.Command(0, 0xCF, 0x00, 5);
        _floppy.WaitForInterrupt();
        Assert.Equal([0x20, 45], _floppy.Command(2, 0x08));
        _ = _floppy.Command(0, 0x8F, 0x00, 50);
        _floppy.WaitForInterrupt();
        Assert.Equal([0x20, 0], _floppy.Command(2, 0x08));
        _ = _floppy.Seek(0, 7);
        _ = _floppy.Command(0, 0x07, 0x00);
        _floppy.WaitForInterrupt();
        Assert.Equal([0x20, 0], _floppy.Command(2, 0x08));
        // There are no drives 2 and 3: nothing says that the head is at track 0.
        _ = _floppy.Command(0, 0x07, 0x03);
        _floppy.WaitForInterrupt();
        Assert.Equal([0x73, 0], _floppy.Command(2, 0x08));
    }

    [Theory]
    [InlineData(0, 0, 1, 1, false)]
    [InlineData(0, 1, 18, 1, false)]
    [InlineData(5, 0, 4, 9, false)]
    [InlineData(79, 0, 1, 36, true)]
    public void Sectors_are_read_by_dma(int cylinder, int head, int sector, int count, bool bothSides)
    {
        _ = _floppy.Seek(0, cylinder);
        _floppy.SetDma(0x8000, count * 512, toMemory: true);
        _ = _floppy.Command(0, (byte)(0x46 | (bothSides ? 0x80 : 0)), (byte)(head << 2), (byte)cylinder, (byte)head, (byte)sector, 2, 18, 0x1B, 0xFF);
        Assert.Equal(0x10, _floppy.In(0x3F4));
        _floppy.WaitForInterrupt();
        int next = sector + count;
        byte[] expected = bothSides ? [4, 0, 0, (byte)(cylinder + 1), 0, 1, 2]
            : next > 18 ? [(byte)(head << 2), 0, 0, (byte)(cylinder + 1), (byte)head, 1, 2] : [(byte)(head << 2), 0, 0, (byte)cylinder, (byte)head, (byte)next, 2];
        byte[] result = _floppy.Result(7);
        if (bothSides)
            expected[0] = (byte)(result[0] & 4);
        Assert.Equal(expected, result);
        Assert.False(_floppy.Line.Level);
        int at = ((((cylinder * 2) + head) * 18) + sector - 1) * 512;
        Assert.Equal(_disk.Content.AsSpan(at, count * 512).ToArray(), _floppy.Bytes(0x8000, count * 512));
    }

    [Fact]
    public void Sectors_are_written_by_dma()
    {
        byte[] data = new byte[1024];
        new Random(5).NextBytes(data);
        Assert.True(_floppy.Memory.TryWrite(0x8000, data));
        _ = _floppy.Seek(0, 3);
        // The count runs out in the second sector, whose rest becomes zeros.
        _floppy.SetDma(0x8000, 700, toMemory: false);
        _ = _floppy.Command(0, 0xC5, 0x04, 3, 1, 2, 2, 18, 0x1B, 0xFF);
        _floppy.WaitForInterrupt();
        Assert.Equal([0x04, 0, 0, 3, 1, 4, 2], _floppy.Result(7));
        int at = ((((3 * 2) + 1) * 18) + 1) * 512;
        Assert.Equal(data[..700], _disk.Content.AsSpan(at, 700).ToArray());
        Assert.All(_disk.Content.AsSpan(at + 700, 324).ToArray(), b => Assert.Equal(0, b));
        _disk.IsReadOnly = true;
        _floppy.SetDma(0x8000, 512, toMemory: false);
        _ = _floppy.Command(0, 0xC5, 0x04, 3, 1, 2, 2, 18, 0x1B, 0xFF);
        _floppy.WaitForInterrupt();
        Assert.Equal([0x44, 0x02], _floppy.Result(7)[..2]);
    }

    [Fact]
    public void Without_dma_every_byte_goes_through_the_data_register()
    {
        _floppy.Start(dma: false);
        _ = _floppy.Command(0, 0x46, 0, 0, 0, 17, 2, 18, 0x1B, 0xFF);
        var data = new List<byte>();
        for (int sector = 0; sector < 2; sector++)
        {
            _floppy.WaitForInterrupt();
            for (int i = 0; i < 512; i++)
            {
                Assert.Equal(0xF0, _floppy.In(0x3F4));
                data.Add(_floppy.In(0x3F5));
            }
        }

        // Nobody says TC: the end of the track does (EN).
        _floppy.WaitForInterrupt();
        Assert.Equal([0x40, 0x80, 0, 1, 0, 1, 2], _floppy.Result(7));
        Assert.Equal(_disk.Content.AsSpan(16 * 512, 1024).ToArray(), data);
        _ = _floppy.Command(0, 0x45, 0, 0, 0, 18, 2, 18, 0x1B, 0xFF);
        for (int i = 0; i < 512; i++)
        {
            Assert.Equal(0xB0, _floppy.In(0x3F4));
            _floppy.Out(0x3F5, 0xA5);
        }

        _floppy.WaitForInterrupt();
        Assert.Equal([0x40, 0x80], _floppy.Result(7)[..2]);
        Assert.All(_disk.Content.AsSpan(17 * 512, 512).ToArray(), b => Assert.Equal(0xA5, b));
    }

    [Fact]
    public void A_track_is_formatted()
    {
        byte[] ids = [.. Enumerable.Range(1, 18).SelectMany(i => (byte[])[2, 1, (byte)i, 2])];
        Assert.True(_floppy.Memory.TryWrite(0x8000, ids));
        _ = _floppy.Seek(0, 2);
        _floppy.SetDma(0x8000, ids.Length, toMemory: false);
        _ = _floppy.Command(0, 0x4D, 0x04, 2, 18, 0x54, 0xF6);
        _floppy.WaitForInterrupt();
        Assert.Equal([0x04, 0, 0], _floppy.Result(7)[..3]);
        Assert.All(_disk.Content.AsSpan(5 * 18 * 512, 18 * 512).ToArray(), b => Assert.Equal(0xF6, b));
        Assert.NotEqual(0xF6, _disk.Content[(5 * 18 * 512) - 1] & _disk.Content[6 * 18 * 512]);
    }

    [Fact]
    public void What_is_not_there_is_not_found()
    {
        byte[] Try(params byte[] command)
        {
            _floppy.SetDma(0x8000, 512, toMemory: true);
            _ = _floppy.Command(0, command);
            _floppy.WaitForInterrupt();
            return _floppy.Result(7)[..3];
        }

        // A sector, a head's cylinder, a size, a density, a rate, a diskette, a motor.
        Assert.Equal([0x40, 0x04, 0], Try(0x46, 0, 0, 0, 19, 2, 19, 0x1B, 0xFF));
        Assert.Equal([0x40, 0x04, 0], Try(0x46, 0, 1, 0, 1, 2, 18, 0x1B, 0xFF));
        Assert.Equal([0x40, 0x04, 0], Try(0x46, 0, 0, 0, 1, 3, 18, 0x1B, 0xFF));
        Assert.Equal([0x40, 0x01, 0], Try(0x06, 0, 0, 0, 1, 2, 18, 0x1B, 0xFF));
        _floppy.Out(0x3F7, 2);
        Assert.Equal([0x40, 0x01, 0], Try(0x46, 0, 0, 0, 1, 2, 18, 0x1B, 0xFF));
        _floppy.Out(0x3F7, 0);
        Assert.Equal([0x41, 0x01, 0], Try(0x46, 1, 0, 0, 1, 2, 18, 0x1B, 0xFF));
        _floppy.Out(0x3F2, 0x0C);
        Assert.Equal([0x40, 0x01, 0], Try(0x46, 0, 0, 0, 1, 2, 18, 0x1B, 0xFF));
        _floppy.Out(0x3F2, 0x1C);
        Assert.Equal([0x00, 0x00, 0], Try(0x46, 0, 0, 0, 1, 2, 18, 0x1B, 0xFF));
        // Data that is to be deleted, and isn't.
        Assert.Equal(0x40, Try(0x4C, 0, 0, 0, 1, 2, 18, 0x1B, 0xFF)[2]);
        _disk.Error = new IOException("broken");
        Assert.Equal([0x40, 0x20, 0], Try(0x46, 0, 0, 0, 1, 2, 18, 0x1B, 0xFF));
        // A channel that isn't ready.
        _disk.Error = null;
        _floppy.Out(0x0A, 6);
        _ = _floppy.Command(0, 0x46, 0, 0, 0, 1, 2, 18, 0x1B, 0xFF);
        _floppy.WaitForInterrupt();
        Assert.Equal([0x40, 0x10], _floppy.Result(7)[..2]);
    }

    [Fact]
    public void Read_id_finds_the_sectors_that_pass_by()
    {
        _ = _floppy.Seek(0, 12);
        var seen = new HashSet<byte>();
        for (int i = 0; i < 100; i++)
        {
            _ = _floppy.Command(0, 0x4A, 0x04);
            _floppy.WaitForInterrupt();
            byte[] result = _floppy.Result(7);
            Assert.Equal([0x04, 0, 0, 12, 1], result[..5]);
            Assert.Equal(2, result[6]);
            _ = seen.Add(result[5]);
            _floppy.Clock.Advance(7_000_000);
        }

        Assert.Equal(Enumerable.Range(1, 18), seen.Select(s => (int)s).Order());
    }

    [Fact]
    public void A_changed_diskette_shows_until_the_head_moves()
    {
        Assert.Equal(0x80, _floppy.In(0x3F7));
        _ = _floppy.Seek(0, 1);
        Assert.Equal(0, _floppy.In(0x3F7));
        _ = _floppy.Controller.ChangeMedium(0, null);
        Assert.Equal(0x80, _floppy.In(0x3F7));
        _ = _floppy.Seek(0, 0);
        Assert.Equal(0x80, _floppy.In(0x3F7));
        var small = new MemoryBlockBackend(720 * 1024);
        small.Content[0] = 0x77;
        _ = _floppy.Controller.ChangeMedium(0, small);
        _ = _floppy.Seek(0, 1);
        Assert.Equal(0, _floppy.In(0x3F7));
        _ = _floppy.Seek(0, 0);
        _floppy.Out(0x3F7, 2);
        _floppy.SetDma(0x8000, 512, toMemory: true);
        _ = _floppy.Command(0, 0x46, 0, 0, 0, 1, 2, 9, 0x1B, 0xFF);
        _floppy.WaitForInterrupt();
        Assert.Equal(0, _floppy.Result(7)[0]);
        Assert.Equal(0x77, _floppy.Bytes(0x8000, 1)[0]);
        _ = Assert.Throws<ArgumentOutOfRangeException>(() => { _ = _floppy.Controller.ChangeMedium(0, new MemoryBlockBackend(1 << 20)); });
        // Only a drive whose motor turns says it.
        _ = _floppy.Controller.ChangeMedium(0, null);
        _floppy.Out(0x3F2, 0x0C);
        Assert.Equal(0, _floppy.In(0x3F7));
    }

    [Theory]
    [InlineData(160, 40, 1, 8, 1)]
    [InlineData(180, 40, 1, 9, 1)]
    [InlineData(320, 40, 2, 8, 1)]
    [InlineData(360, 40, 2, 9, 1)]
    [InlineData(640, 80, 2, 8, 3)]
    [InlineData(1200, 80, 2, 15, 2)]
    [InlineData(720, 80, 2, 9, 3)]
    [InlineData(1440, 80, 2, 18, 4)]
    [InlineData(2880, 80, 2, 36, 5)]
    public void Diskettes_are_known_by_their_size(int kilobytes, int cylinders, int heads, int sectors, int type)
    {
        FloppyGeometry geometry = FloppyGeometry.Find((ulong)kilobytes * 1024)!.Value;
        Assert.Equal((cylinders, heads, sectors, type), (geometry.Cylinders, geometry.Heads, geometry.Sectors, geometry.CmosType));
        Assert.Null(FloppyGeometry.Find(((ulong)kilobytes * 1024) + 512));
    }

    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    [InlineData(300)]
    [InlineData(512)]
    [InlineData(700)]
    public async Task A_transfer_goes_on_in_another_machine(int bytes)
    {
        _floppy.Start(dma: false);
        _ = _floppy.Command(0, 0x46, 0, 0, 0, 16, 2, 18, 0x1B, 0xFF);
        var data = new List<byte>();
        void Take(FloppyMachine machine, int count)
        {
            for (int i = 0; i < count; i++)
            {
                if ((machine.In(0x3F4) & 0x80) == 0)
                    machine.WaitForInterrupt();
                data.Add(machine.In(0x3F5));
            }
        }

        Take(_floppy, bytes);
        using var there = new FloppyMachine(_disk, null);
        await there.MoveFromAsync(_floppy);
        Take(there, 1536 - bytes);
        there.WaitForInterrupt();
        Assert.Equal([0x40, 0x80], there.Result(7)[..2]);
        Assert.Equal(_disk.Content.AsSpan(15 * 512, 1536).ToArray(), data);
    }

    [Fact]
    public async Task Seeks_commands_and_dma_go_on_in_another_machine()
    {
        _ = _floppy.Command(0, 0x0F, 0, 30);
        using var second = new FloppyMachine(_disk, null);
        await second.MoveFromAsync(_floppy);
        second.WaitForInterrupt();
        Assert.Equal([0x20, 30], second.Command(2, 0x08));
        second.SetDma(0x8000, 1024, toMemory: true);
        foreach (byte part in (byte[])[0x46, 0, 30, 0])
            second.Out(0x3F5, part);
        using var third = new FloppyMachine(_disk, null);
        await third.MoveFromAsync(second);
        foreach (byte part in (byte[])[1, 2, 18, 0x1B, 0xFF])
            third.Out(0x3F5, part);
        third.Clock.Advance(150_000);
        using var last = new FloppyMachine(_disk, null);
        await last.MoveFromAsync(third);
        last.WaitForInterrupt();
        using var done = new FloppyMachine(_disk, null);
        await done.MoveFromAsync(last);
        Assert.True(done.Line.Level);
        Assert.Equal([0, 0, 0, 30, 0, 3, 2], done.Result(7));
        Assert.Equal(_disk.Content.AsSpan(60 * 18 * 512, 1024).ToArray(), done.Bytes(0x8000, 1024));
    }

    [Fact]
    public Task Random_accesses_do_no_harm() => HarmAsync(30_000);

    [Fact]
    [Trait("Category", "Slow")]
    public Task A_million_random_accesses_do_no_harm() => HarmAsync(1_000_000);

    private async Task HarmAsync(int accesses)
    {
        int seed = TestSeed.Take(_output);
        var random = new Random(seed);
        byte[] commands = [0x46, 0xC6, 0x45, 0xC5, 0x42, 0x4C, 0x6C, 0x4D, 0x4A, 0x56, 0x03, 0x04, 0x07, 0x08, 0x0F, 0x8F, 0xCF, 0x0E, 0x10, 0x12, 0x13, 0x14, 0x94];
        var other = new MemoryBlockBackend(720 * 1024);
        var machine = new FloppyMachine(_disk, other);
        try
        {
            for (int i = 0; i < accesses; i++)
            {
                switch (random.Next(10))
                {
                    case 0:
                        machine.Out(0x3F0 + random.Next(8), random.Next(256));
                        break;
                    case 1 or 2:
                        _ = machine.In(0x3F0 + random.Next(8));
                        break;
                    case 3:
                        machine.Out(random.Next(16), random.Next(256));
                        machine.Out(0xC0 + random.Next(32), random.Next(256));
                        break;
                    case 4:
                        machine.SetDma(random.Next(1 << 20), random.Next(1, 5000), random.Next(2) == 0);
                        break;
                    case 5:
                        machine.Out(0x3F2, 0x3C | random.Next(2));
                        machine.Out(0x3F7, random.Next(3));
                        break;
                    case 6 or 7:
                        machine.Out(0x3F5, commands[random.Next(commands.Length)]);
                        for (int parts = random.Next(9); parts > 0; parts--)
                            machine.Out(0x3F5, random.Next(4) == 0 ? random.Next(256) : random.Next(4));
                        break;
                    case 8:
                        machine.Clock.Advance(random.Next(1_000_000));
                        break;
                    default:
                        for (int n = random.Next(600); n >= 0; n--)
                            _ = machine.In(0x3F5);
                        break;
                }

                if (random.Next(3000) == 0)
                {
                    lock (machine.Gate)
                        _ = machine.Controller.ChangeMedium(random.Next(2), random.Next(3) == 0 ? null : other);
                    _ = machine.Controller.ChangeMedium(0, _disk);
                    _ = machine.Controller.ChangeMedium(1, other);
                    var there = new FloppyMachine(_disk, other);
                    await there.MoveFromAsync(machine);
                    machine.Dispose();
                    machine = there;
                }
            }

            machine.Out(0x08, 0);
            // A locked configuration without polls survives resets by registers, and gives no interrupts after them.
            lock (machine.Gate)
                machine.Controller.Reset();
            machine.Start();
            _ = machine.Seek(0, 1);
            machine.SetDma(0x8000, 512, toMemory: true);
            _ = machine.Command(0, 0x46, 0, 1, 0, 1, 2, 18, 0x1B, 0xFF);
            machine.WaitForInterrupt();
            Assert.Equal([0, 0, 0], machine.Result(7)[..3]);
            Assert.Equal(_disk.Content.AsSpan(36 * 512, 512).ToArray(), machine.Bytes(0x8000, 512));
        }
        finally
        {
            machine.Dispose();
        }
    }
}
