using System.Buffers.Binary;
using System.Text;
using Doppel.Devices.Storage;
using Doppel.Devices.Tests.Virtio;

namespace Doppel.Devices.Tests.Ide;

/// <summary>ATA disks behind a PIIX3, by ATA/ATAPI-7 and the bus master's specification.</summary>
public sealed class AtaDiskTests : IDisposable
{
    private const int Sectors = 4096;
    private readonly MemoryBlockBackend _disk = new(Sectors * 512);
    private readonly MemoryBlockBackend _slave = new(100 * 512);
    private readonly IdeMachine _ide;

    public AtaDiskTests()
    {
        new Random(1).NextBytes(_disk.Content);
        new Random(2).NextBytes(_slave.Content);
        _ide = new IdeMachine(_disk, _slave);
    }

    public void Dispose() => _ide.Dispose();

    [Fact]
    public void Reset_shows_the_signature_of_a_disk()
    {
        Assert.Equal(0x50, _ide.AlternateStatus);
        Assert.Equal([1, 1, 1, 0, 0], new[] { _ide.In(IdeMachine.Error), _ide.In(IdeMachine.Count), _ide.In(IdeMachine.Low), _ide.In(IdeMachine.Middle), _ide.In(IdeMachine.High) }.Select(b => (int)b));
        _ide.Begin(0x20, 5, 2);
        _ide.Control(4);
        Assert.Equal(0x80, _ide.AlternateStatus);
        _ide.Control(0);
        Assert.Equal(0x50, _ide.Wait());
        Assert.Equal(1, _ide.In(IdeMachine.Error));
        Assert.Equal(0, _ide.In(IdeMachine.Device));
        Assert.False(_ide.Primary.Level);
    }

    [Fact]
    public void Absent_drives_answer_with_a_status_of_zero()
    {
        using var single = new IdeMachine(_disk);
        single.Out(IdeMachine.Device, 0xB0);
        Assert.Equal(0, single.In(IdeMachine.Status));
        single.Out(IdeMachine.Low, 0x5A);
        Assert.Equal(0x5A, single.In(IdeMachine.Low));
        single.Out(IdeMachine.Status, 0xEC);
        Assert.Equal(0, single.AlternateStatus);
        single.Channel = 0x170;
        Assert.Equal(0, single.In(IdeMachine.Status));
        single.Channel = 0x1F0;
        // Drive 0 diagnoses for both.
        single.Out(IdeMachine.Status, 0x90);
        Assert.Equal(0x50, single.End());
        Assert.Equal(1, single.In(IdeMachine.Error));
        Assert.Equal(0, single.In(IdeMachine.Device) & 0x10);
    }

    [Fact]
    public void Identify_tells_what_there_is()
    {
        _ide.Begin(0xEC, device: 0xA0);
        byte[] data = _ide.ReadAll();
        Assert.Equal(512, data.Length);
        ushort Word(int i) => BinaryPrimitives.ReadUInt16LittleEndian(data.AsSpan(2 * i));
        string Text(int first, int words) => Encoding.ASCII.GetString([.. Enumerable.Range(2 * first, 2 * words).Select(i => data[i ^ 1])]).Trim();
        Assert.Equal(0x0040, Word(0));
        Assert.Equal((4, 16, 63), (Word(1), Word(3), Word(6)));
        Assert.Equal("serial-0", Text(10, 10));
        Assert.Equal("DOPPEL ATA DISK", Text(27, 20));
        Assert.Equal(0x8010, Word(47));
        Assert.Equal(0x0300, Word(49) & 0x0300);
        Assert.Equal(Sectors, Word(60) | (Word(61) << 16));
        Assert.Equal((ulong)Sectors, BinaryPrimitives.ReadUInt64LittleEndian(data.AsSpan(200)));
        Assert.Equal(0x0407, Word(63));
        Assert.Equal(0x4000, Word(83) & 0xC000);
        Assert.Equal(0x0400, Word(83) & 0x0400);
        Assert.Equal(1, Word(169));
        Assert.Equal(0, data.Sum(b => b) & 0xFF);
        // The other drive of the cable is another disk.
        _ide.Begin(0xEC, device: 0xB0);
        data = _ide.ReadAll(width: 4);
        Assert.Equal("serial-1", Text(10, 10));
        Assert.Equal(100, Word(60));
    }

    [Theory]
    [InlineData(0x20, 1, 512)]
    [InlineData(0x20, 3, 512)]
    [InlineData(0x21, 256, 512)]
    [InlineData(0xC4, 40, 16 * 512)]
    [InlineData(0xC4, 5, 16 * 512)]
    public void Sectors_are_read_by_pio(int command, int count, int block)
    {
        _ide.Begin(command, 17, count & 0xFF);
        byte[] data = _ide.ReadAll(Math.Min(block, count * 512));
        Assert.Equal(_disk.Content.AsSpan(17 * 512, count * 512).ToArray(), data[..(count * 512)]);
        Assert.Equal(0x50, _ide.In(IdeMachine.Status));
        Assert.False(_ide.Primary.Level);
        Assert.Equal(0, _ide.In(IdeMachine.Count));
        // The address of the last sector.
        Assert.Equal(17 + count - 1, _ide.In(IdeMachine.Low) | (_ide.In(IdeMachine.Middle) << 8));
    }

    [Theory]
    [InlineData(0x30, 3, 512, 2)]
    [InlineData(0x31, 200, 512, 4)]
    [InlineData(0xC5, 40, 16 * 512, 2)]
    public void Sectors_are_written_by_pio(int command, int count, int block, int width)
    {
        byte[] data = new byte[count * 512];
        new Random(count).NextBytes(data);
        _ide.Begin(command, 30, count);
        _ide.WriteAll(data, block, width);
        Assert.Equal(0x50, _ide.End());
        Assert.Equal(data, _disk.Content.AsSpan(30 * 512, data.Length).ToArray());
    }

    [Fact]
    public void A_48_bit_address_is_written_twice()
    {
        _ide.Begin48(0x24, 1000, 300);
        byte[] data = _ide.ReadAll();
        Assert.Equal(_disk.Content.AsSpan(1000 * 512, 300 * 512).ToArray(), data);
        Assert.Equal((1299 & 0xFF, 1299 >> 8), ((int)_ide.In(IdeMachine.Low), (int)_ide.In(IdeMachine.Middle)));
        _ide.Begin48(0x42, 0x12_3456_789A, 1);
        Assert.Equal(0x51, _ide.End());
        Assert.Equal(0x10, _ide.In(IdeMachine.Error));
        // HOB shows what was written first; a write ends that.
        _ide.Control(0x80);
        Assert.Equal([0x34, 0x12, 0x00], new[] { _ide.In(IdeMachine.Low), _ide.In(IdeMachine.Middle), _ide.In(IdeMachine.High) }.Select(b => (int)b));
        _ide.Out(IdeMachine.Features, 0);
        Assert.Equal([0x9A, 0x78, 0x56], new[] { _ide.In(IdeMachine.Low), _ide.In(IdeMachine.Middle), _ide.In(IdeMachine.High) }.Select(b => (int)b));
    }

    [Fact]
    public void Cylinders_heads_and_sectors_follow_the_translation()
    {
        void Chs(int cylinder, int head, int sector, int command, int count = 1)
        {
            _ide.Out(IdeMachine.Device, 0xA0 | head);
            _ide.Out(IdeMachine.Count, count);
            _ide.Out(IdeMachine.Low, sector);
            _ide.Out(IdeMachine.Middle, (byte)cylinder);
            _ide.Out(IdeMachine.High, cylinder >> 8);
            _ide.Out(IdeMachine.Status, command);
        }

        Chs(2, 3, 4, 0x20);
        Assert.Equal(_disk.Content.AsSpan((((2 * 16) + 3) * 63 + 3) * 512, 512).ToArray(), _ide.ReadAll());
        // 8 heads of 32 sectors, as INITIALIZE DEVICE PARAMETERS asks for.
        _ide.Out(IdeMachine.Device, 0xA7);
        _ide.Out(IdeMachine.Count, 32);
        _ide.Out(IdeMachine.Status, 0x91);
        Assert.Equal(0x50, _ide.End());
        Chs(2, 3, 32, 0x20, 2);
        Assert.Equal(_disk.Content.AsSpan((((2 * 8) + 3) * 32 + 31) * 512, 1024).ToArray(), _ide.ReadAll());
        Assert.Equal((2, 4, 1), (_ide.In(IdeMachine.Middle), _ide.In(IdeMachine.Device) & 15, _ide.In(IdeMachine.Low)));
        foreach ((int cylinder, int head, int sector) in ((int, int, int)[])[(0, 0, 0), (0, 8, 1), (0, 0, 33), (16, 0, 1)])
        {
            Chs(cylinder, head, sector, 0x40);
            Assert.Equal(0x51, _ide.End());
            Assert.Equal(0x10, _ide.In(IdeMachine.Error));
        }

        _ide.Begin(0xEC);
        byte[] identity = _ide.ReadAll();
        Assert.Equal([16, 0, 8, 0, 32, 0, 0, 16, 0, 0], identity[108..118]);
    }

    [Theory]
    [InlineData(0x20)]
    [InlineData(0x30)]
    [InlineData(0xC8)]
    [InlineData(0xCA)]
    [InlineData(0x40)]
    public void A_sector_behind_the_end_is_not_found(int command)
    {
        _ide.Begin(command, Sectors - 1, 2);
        Assert.Equal(0x51, _ide.End());
        Assert.Equal(0x10, _ide.In(IdeMachine.Error));
    }

    [Theory]
    [InlineData(1, 512)]
    [InlineData(8, 4096)]
    [InlineData(256, 65536)]
    [InlineData(255, 6)]
    public void Dma_moves_data_over_a_table(int count, int piece)
    {
        int length = count * 512;
        var pieces = new List<(uint, int)>();
        for (int at = 0; at < length; at += piece)
            pieces.Add(((uint)(0x20_0000 + (at * 2 % 0x10_0000) + (at / 0x8_0000 * piece)), Math.Min(piece, length - at) & 0xFFFF));
        if (piece == 6)
        {
            pieces.Clear();
            for (int at = 0, left = length; left > 0; at += 32)
            {
                int part = Math.Min(left, 6 + (at % 500 / 32 * 40));
                pieces.Add(((uint)(0x20_0000 + (at * 32)), part));
                left -= part;
            }
        }

        _ide.SetTable([.. pieces]);
        _ide.Begin(0xC8, 100, count & 0xFF);
        Assert.Equal(0x58, _ide.Wait());
        _ide.StartMaster(toMemory: true);
        Assert.True(SpinWait.SpinUntil(() => (_ide.InMaster(2) & 4) != 0, TimeSpan.FromSeconds(30)));
        Assert.Equal(0x50, _ide.End());
        Assert.Equal(4, _ide.InMaster(2) & 7);
        _ide.OutMaster(0, 0);
        byte[] read = [.. pieces.SelectMany(p => _ide.Bytes(p.Item1, p.Item2 == 0 ? 65536 : p.Item2))];
        Assert.Equal(_disk.Content.AsSpan(100 * 512, length).ToArray(), read);

        // And back to another place.
        _ide.SetTable([.. pieces]);
        _ide.StartMaster(toMemory: false);
        _ide.Begin(0xCA, 2000, count & 0xFF);
        Assert.Equal(0x50, _ide.End());
        Assert.Equal(read, _disk.Content.AsSpan(2000 * 512, length).ToArray());
    }

    [Fact]
    public void A_table_that_is_too_short_or_too_long_shows_in_the_status()
    {
        // 3.1: the whole table used up, and no interrupt of the drive: active is off, the interrupt bit too.
        _ide.SetTable((0x20_0000, 512));
        _ide.StartMaster(toMemory: true);
        _ide.Begin(0xC8, 0, 2);
        Assert.Equal(0x58, _ide.Wait());
        Assert.Equal(0, _ide.InMaster(2) & 7);
        // Another table goes on.
        _ide.OutMaster(0, 0);
        _ide.SetTable((0x21_0000, 1024));
        _ide.StartMaster(toMemory: true);
        Assert.Equal(0x50, _ide.End());
        Assert.Equal(_disk.Content[512..1024], _ide.Bytes(0x21_0000, 512));
        // The interrupt came before the table's end: both bits.
        Assert.Equal(5, _ide.InMaster(2) & 7);
        _ide.OutMaster(0, 0);
        Assert.Equal(4, _ide.InMaster(2) & 7);
        _ide.OutMaster(2, 4);
        Assert.Equal(0, _ide.InMaster(2) & 7);
    }

    [Fact]
    public void Dma_to_nowhere_is_an_error_of_both()
    {
        _ide.SetTable((0x8000_0000, 512));
        _ide.StartMaster(toMemory: true);
        _ide.Begin(0xC8);
        Assert.Equal(0x51, _ide.End());
        Assert.Equal(4, _ide.In(IdeMachine.Error));
        Assert.Equal(2, _ide.InMaster(2) & 3);
    }

    [Fact]
    public void Dma_waits_for_the_bus_to_be_mastered()
    {
        _ide.Function.WriteConfig(4, 2, 1);
        _ide.SetTable((0x20_0000, 512));
        _ide.StartMaster(toMemory: true);
        _ide.Begin(0xC8, 3);
        Assert.Equal(0x58, _ide.Wait());
        _ide.Function.WriteConfig(4, 2, 5);
        Assert.Equal(0x50, _ide.End());
        Assert.Equal(_disk.Content[1536..2048], _ide.Bytes(0x20_0000, 512));
    }

    [Fact]
    public void Flushes_and_the_write_cache_reach_the_medium()
    {
        _ide.Begin(0xE7);
        Assert.Equal(0x50, _ide.End());
        Assert.Equal("flush", _disk.Log[^1]);
        _ide.Begin(0xEF, features: 0x82);
        Assert.Equal(0x50, _ide.End());
        _disk.Log.Clear();
        _ide.Begin(0x30, 7);
        _ide.WriteAll(new byte[512]);
        Assert.Equal(0x50, _ide.End());
        Assert.Equal(["write 3584+512", "flush"], _disk.Log);
        _ide.Begin(0xEF, features: 0x02);
        Assert.Equal(0x50, _ide.End());
        _disk.Log.Clear();
        // WRITE DMA FUA EXT goes through the cache.
        _ide.SetTable((0x20_0000, 512));
        _ide.StartMaster(toMemory: false);
        _ide.Begin48(0x3D, 9, 1);
        Assert.Equal(0x50, _ide.End());
        Assert.Equal(["write 4608+512", "flush"], _disk.Log);
    }

    [Fact]
    public void Trim_discards_ranges_that_exist()
    {
        byte[] ranges = new byte[512];
        BinaryPrimitives.WriteUInt64LittleEndian(ranges, 8 | (16UL << 48));
        BinaryPrimitives.WriteUInt64LittleEndian(ranges.AsSpan(16), 100 | (1UL << 48));
        _ide.Put(0x20_0000, ranges);
        _ide.SetTable((0x20_0000, 512));
        _ide.StartMaster(toMemory: false);
        _ide.Begin48(0x06, 0, 1, features: 1);
        Assert.Equal(0x50, _ide.End());
        Assert.Equal(["discard 4096+8192", "discard 51200+512"], _disk.Log);
        BinaryPrimitives.WriteUInt64LittleEndian(ranges.AsSpan(24), Sectors | (1UL << 48));
        _ide.Put(0x20_0000, ranges);
        _ide.OutMaster(0, 0);
        _ide.SetTable((0x20_0000, 512));
        _ide.StartMaster(toMemory: false);
        _ide.Begin48(0x06, 0, 1, features: 1);
        Assert.Equal(0x51, _ide.End());
        Assert.Equal(2, _disk.Log.Count);
    }

    [Fact]
    public void Features_multiple_and_power_are_set_by_the_rules()
    {
        int Do(int command, int count = 0, int features = 0, int middle = 0, int high = 0)
        {
            _ide.Begin(command, (uint)((high << 16) | (middle << 8)), count, features);
            return _ide.End() == 0x50 ? 0 : _ide.In(IdeMachine.Error);
        }

        Assert.Equal(0, Do(0xC6, 8));
        Assert.Equal(4, Do(0xC6, 3));
        _ide.Begin(0xC4, 0, 1);
        Assert.Equal(0x51, _ide.End());
        Assert.Equal(4, Do(0xC6, 32));
        Assert.Equal(0, Do(0xC6, 16));
        Assert.Equal(0, Do(0xEF, 0x42, 3));
        _ide.Begin(0xEC);
        Assert.Equal(0x043F, BinaryPrimitives.ReadUInt16LittleEndian(_ide.ReadAll().AsSpan(176)));
        Assert.Equal(4, Do(0xEF, 0x47, 3));
        Assert.Equal(4, Do(0xEF, 0, 0x99));
        Assert.Equal(0, Do(0xE0));
        Assert.Equal(0, Do(0xE5));
        Assert.Equal(0, _ide.In(IdeMachine.Count));
        Assert.Equal(0, Do(0xE1));
        Assert.Equal(0, Do(0xE5));
        Assert.Equal(0xFF, _ide.In(IdeMachine.Count));
        Assert.Equal(0, Do(0x10));
        Assert.Equal(0, Do(0x70));
        Assert.Equal(4, Do(0x00));
        Assert.Equal(4, Do(0xF7));
        Assert.Equal(4, Do(0xA1));
        // SMART answers only to its key.
        Assert.Equal(0, Do(0xB0, features: 0xDA, middle: 0x4F, high: 0xC2));
        Assert.Equal((0x4F, 0xC2), (_ide.In(IdeMachine.Middle), _ide.In(IdeMachine.High)));
        Assert.Equal(4, Do(0xB0, features: 0xDA));
        _ide.Begin(0xB0, 0xC24F00, features: 0xD0);
        Assert.Equal(0, _ide.ReadAll().Sum(b => b) & 0xFF);
        Assert.Equal(0, Do(0xB0, features: 0xD9, middle: 0x4F, high: 0xC2));
        Assert.Equal(4, Do(0xB0, features: 0xDA, middle: 0x4F, high: 0xC2));
    }

    [Fact]
    public void The_buffer_returns_what_was_written_to_it()
    {
        byte[] data = [.. Enumerable.Range(0, 512).Select(i => (byte)(i * 7))];
        _ide.Begin(0xE8);
        _ide.WriteAll(data);
        Assert.Equal(0x50, _ide.End());
        _ide.Begin(0xE4);
        Assert.Equal(data, _ide.ReadAll());
        Assert.Empty(_disk.Log);
    }

    [Fact]
    public void Interrupts_can_be_turned_off_and_belong_to_the_selected_drive()
    {
        _ide.Control(2);
        _ide.Begin(0xE7);
        Assert.Equal(0x50, _ide.Wait());
        Assert.False(_ide.Primary.Level);
        _ide.Control(0);
        Assert.True(_ide.Primary.Level);
        _ide.Out(IdeMachine.Device, 0xF0);
        Assert.False(_ide.Primary.Level);
        _ide.Out(IdeMachine.Device, 0xE0);
        Assert.True(_ide.Primary.Level);
        _ = _ide.AlternateStatus;
        Assert.True(_ide.Primary.Level);
        _ = _ide.In(IdeMachine.Status);
        Assert.False(_ide.Primary.Level);
    }

    [Fact]
    public void Errors_of_the_medium_are_told()
    {
        _disk.Error = new IOException("broken");
        _ide.Begin(0x20, 5);
        Assert.Equal(0x51, _ide.End());
        Assert.Equal(0x40, _ide.In(IdeMachine.Error));
        Assert.Equal(5, _ide.In(IdeMachine.Low));
        _ide.Begin(0x30, 5);
        _ide.WriteAll(new byte[512]);
        Assert.Equal(0x51, _ide.End());
        Assert.Equal(4, _ide.In(IdeMachine.Error));
    }

    [Fact]
    public void A_read_only_disk_refuses_writes()
    {
        _disk.IsReadOnly = true;
        _ide.Begin(0x30, 5);
        Assert.Equal(0x51, _ide.End());
        Assert.Equal(4, _ide.In(IdeMachine.Error));
    }

    [Fact]
    public async Task A_full_host_makes_the_write_wait()
    {
        var told = new TaskCompletionSource<StorageFullException>();
        using var ide = new IdeMachine(_disk, full: told.SetResult);
        _disk.Error = new StorageFullException("full");
        ide.Begin(0x30, 5);
        ide.WriteAll([.. Enumerable.Repeat((byte)7, 512)]);
        _ = await told.Task.WaitAsync(TimeSpan.FromSeconds(30));
        Assert.Equal(0x80, ide.AlternateStatus & 0x80);
        await ide.Function.HoldAsync();
        _disk.Error = null;
        ide.Function.Release();
        Assert.Equal(0x50, ide.End());
        Assert.Equal(7, _disk.Content[5 * 512]);
    }

    [Fact]
    public void A_reset_forgets_what_the_medium_does()
    {
        _disk.Close();
        _ide.Begin(0x20, 5);
        Assert.Equal(0x80, _ide.AlternateStatus & 0x80);
        _ide.Control(4);
        _ide.Control(0);
        Assert.Equal(0x50, _ide.AlternateStatus);
        // The next command waits for the old operation, then does its own.
        _ide.Begin(0x20, 6);
        Assert.Equal(0x80, _ide.AlternateStatus & 0x80);
        _disk.Open();
        Assert.Equal(_disk.Content[3072..3584], _ide.ReadAll());
    }

    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    [InlineData(255)]
    [InlineData(256)]
    [InlineData(600)]
    public async Task A_transfer_goes_on_in_another_machine(int words)
    {
        // A read by PIO, stopped after so many words.
        _ide.Begin(0x20, 11, 3);
        var data = new List<byte>();
        for (int i = 0; i < words; i++)
        {
            _ = _ide.Wait();
            data.AddRange(BitConverter.GetBytes((ushort)_ide.InPort(0x1F0, 2)));
        }

        using var there = new IdeMachine(_disk, _slave);
        await there.MoveFromAsync(_ide);
        for (int i = words; i < 3 * 256; i++)
        {
            _ = there.Wait();
            data.AddRange(BitConverter.GetBytes((ushort)there.InPort(0x1F0, 2)));
        }

        Assert.Equal(_disk.Content.AsSpan(11 * 512, 3 * 512).ToArray(), data);
        Assert.Equal(0x50, there.Wait());
    }

    [Fact]
    public async Task Writes_and_dma_go_on_in_another_machine()
    {
        byte[] data = new byte[4 * 512];
        new Random(3).NextBytes(data);
        _ide.Begin(0x30, 21, 4);
        _ide.WriteAll(data[..1024]);
        _ide.OutPort(0x1F0, 2, BinaryPrimitives.ReadUInt16LittleEndian(data.AsSpan(1024)));
        using var there = new IdeMachine(_disk, _slave);
        await there.MoveFromAsync(_ide);
        for (int i = 1026; i < data.Length; i += 2)
        {
            _ = there.Wait();
            there.OutPort(0x1F0, 2, BinaryPrimitives.ReadUInt16LittleEndian(data.AsSpan(i)));
        }

        Assert.Equal(0x50, there.End());
        Assert.Equal(data, _disk.Content.AsSpan(21 * 512, data.Length).ToArray());

        // By DMA, in the middle of a descriptor and of a table.
        there.SetTable((0x20_0000, 700));
        there.StartMaster(toMemory: true);
        there.Begin(0xC8, 50, 3);
        Assert.Equal(0x58, there.Wait());
        there.OutMaster(0, 0);
        there.SetTable((0x20_0000 + 700, 100), (0x30_0000, 2000));
        using var last = new IdeMachine(_disk, _slave);
        await last.MoveFromAsync(there);
        last.StartMaster(toMemory: true);
        Assert.Equal(0x50, last.End());
        Assert.Equal(_disk.Content.AsSpan(50 * 512, 1536).ToArray(), last.Bytes(0x20_0000, 800).Concat(last.Bytes(0x30_0000, 736)).ToArray());
    }

    [Fact]
    public async Task What_the_medium_has_not_begun_is_begun_after_a_move()
    {
        await _ide.Function.HoldAsync();
        _ide.Begin(0x20, 9);
        Assert.Equal(0x80, _ide.AlternateStatus & 0x80);
        using var there = new IdeMachine(_disk, _slave);
        await there.MoveFromAsync(_ide);
        Assert.Equal(_disk.Content[4608..5120], there.ReadAll());
    }
}
