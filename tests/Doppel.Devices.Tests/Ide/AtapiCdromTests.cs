using System.Buffers.Binary;
using System.Text;
using Doppel.Devices.Ata;
using Doppel.Devices.Tests.Virtio;

namespace Doppel.Devices.Tests.Ide;

/// <summary>The CD drive, by ATA/ATAPI-7 and MMC-5.</summary>
public sealed class AtapiCdromTests : IDisposable
{
    private const int Blocks = 400;
    private readonly MemoryBlockBackend _disc = new(Blocks * 2048) { IsReadOnly = true };
    private readonly IdeMachine _ide;
    private AtapiCdrom _drive = null!;

    public AtapiCdromTests()
    {
        new Random(1).NextBytes(_disc.Content);
        _ide = Make();
    }

    public void Dispose() => _ide.Dispose();

    [Fact]
    public void It_is_found_as_a_packet_device()
    {
        using IdeMachine fresh = Make(ready: false);
        Assert.Equal((0x14, 0xEB), (fresh.In(IdeMachine.Middle), fresh.In(IdeMachine.High)));
        Assert.Equal(0, fresh.In(IdeMachine.Status));
        fresh.Begin(0xEC, device: 0xA0);
        Assert.Equal(0x51, fresh.End());
        Assert.Equal(4, fresh.In(IdeMachine.Error));
        Assert.Equal((0x14, 0xEB), (fresh.In(IdeMachine.Middle), fresh.In(IdeMachine.High)));
        fresh.Begin(0xA1, device: 0xA0);
        byte[] data = fresh.ReadAll();
        Assert.Equal(0x85C0, BinaryPrimitives.ReadUInt16LittleEndian(data));
        Assert.Equal("ODPPLED DVR-MO", Encoding.ASCII.GetString(data, 54, 14).Replace("  ", " ", StringComparison.Ordinal));
        // The first command after power-on learns that there was one.
        Assert.Null(fresh.Packet([0x00]));
        Assert.Equal(0x60, fresh.In(IdeMachine.Error));
        Assert.Equal((6, 0x29, 0), fresh.Sense());
        Assert.NotNull(fresh.Packet([0x00]));
        Assert.Equal((0, 0, 0), fresh.Sense());
        fresh.Out(IdeMachine.Status, 0x08);
        Assert.Equal(0, fresh.AlternateStatus);
        Assert.Equal((0x14, 0xEB), (fresh.In(IdeMachine.Middle), fresh.In(IdeMachine.High)));
    }

    [Theory]
    [InlineData(1, 0xFFFE)]
    [InlineData(1, 512)]
    [InlineData(5, 2048)]
    [InlineData(100, 4000)]
    public void Blocks_are_read_by_pio(int count, int limit)
    {
        byte[]? data = _ide.Packet([0x28, 0, 0, 0, 0, 20, 0, 0, (byte)count, 0], limit);
        Assert.Equal(_disc.Content.AsSpan(20 * 2048, count * 2048).ToArray(), data);
        data = _ide.Packet([0xA8, 0, 0, 0, 0, 20, 0, 0, 0, (byte)count, 0], limit);
        Assert.Equal(_disc.Content.AsSpan(20 * 2048, count * 2048).ToArray(), data);
    }

    [Fact]
    public void Blocks_are_read_by_dma()
    {
        _ide.SetTable((0x10_0000, 0), (0x11_0000, 0x9000));
        _ide.SendPacket([0x28, 0, 0, 0, 1, 0, 0, 0, 50, 0], dma: true);
        Assert.Equal(0x58, _ide.Wait());
        _ide.StartMaster(toMemory: true);
        Assert.Equal(0x50, _ide.End());
        Assert.Equal(4, _ide.InMaster(2) & 7);
        Assert.Equal(_disc.Content.AsSpan(256 * 2048, 50 * 2048).ToArray(), _ide.Bytes(0x10_0000, 50 * 2048));
        Assert.Equal(3, _ide.In(IdeMachine.Count));
    }

    [Fact]
    public void The_disc_is_described()
    {
        Assert.Equal([0, 0, 1, 0x8F, 0, 0, 8, 0], _ide.Packet([0x25]));
        byte[] inquiry = _ide.Packet([0x12, 0, 0, 0, 36])!;
        Assert.Equal([5, 0x80], inquiry[..2]);
        Assert.Equal("DOPPEL  ", Encoding.ASCII.GetString(inquiry, 8, 8));
        Assert.Equal(5, _ide.Packet([0x12, 0, 0, 0, 5])!.Length);
        // Track 1 at 00:02:00, lead-out at block 400 = 00:07:25.
        Assert.Equal([0, 18, 1, 1, 0, 0x14, 1, 0, 0, 0, 2, 0, 0, 0x14, 0xAA, 0, 0, 0, 7, 25], _ide.Packet([0x43, 2, 0, 0, 0, 0, 0, 0, 100]));
        Assert.Equal([0, 10, 1, 1, 0, 0x14, 0xAA, 0, 0, 0, 1, 0x90], _ide.Packet([0x43, 0, 0, 0, 0, 0, 0xAA, 0, 100]));
        Assert.Equal([0, 10, 1, 1, 0, 0x14, 1, 0, 0, 0, 0, 0], _ide.Packet([0x43, 0, 1, 0, 0, 0, 0, 0, 100]));
        Assert.Equal(4 + (4 * 11), _ide.Packet([0x43, 2, 2, 0, 0, 0, 0, 0, 100])!.Length);
        Assert.Null(_ide.Packet([0x43, 0, 5, 0, 0, 0, 0, 0, 100]));
        Assert.Equal((5, 0x24, 0), _ide.Sense());
        Assert.Equal([0, 32, 14, 1], _ide.Packet([0x51, 0, 0, 0, 0, 0, 0, 0, 34])![..4]);
        byte[] configuration = _ide.Packet([0x46, 0, 0, 0, 0, 0, 0, 0, 255])!;
        Assert.Equal(configuration.Length - 4, configuration[3]);
        Assert.Equal(8, configuration[7]);
        byte[] mode = _ide.Packet([0x5A, 0, 0x2A, 0, 0, 0, 0, 0, 255])!;
        Assert.Equal((0x2A, 20, 1), (mode[8], mode[9], mode[2]));
        Assert.Equal(mode.Length - 2, mode[1]);
        Assert.Equal(0x1A, _ide.Packet([0x1A, 0, 0x1A, 0, 255])![4]);
        Assert.Null(_ide.Packet([0x5A, 0, 0x33, 0, 0, 0, 0, 0, 255]));
        Assert.Null(_ide.Packet([0x77]));
        Assert.Equal((5, 0x20, 0), _ide.Sense());
        Assert.Equal([0, 0x15, 0, 12, 1, 0x14, 1, 1], _ide.Packet([0x42, 2, 0x40, 1, 0, 0, 0, 0, 16])![..8]);
        Assert.Equal(8, _ide.Packet([0xBD, 0, 0, 0, 0, 0, 0, 0, 0, 8])!.Length);
    }

    [Fact]
    public void What_is_behind_the_end_is_refused()
    {
        Assert.Null(_ide.Packet([0x28, 0, 0, 0, 1, 0x8F, 0, 0, 2]));
        Assert.Equal((5, 0x21, 0), _ide.Sense());
        Assert.Null(_ide.Packet([0x28, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0, 1]));
        Assert.Equal([], _ide.Packet([0x28, 0, 0, 0, 0, 0, 0, 0, 0])!);
    }

    [Fact]
    public void Whole_sectors_have_their_codes()
    {
        byte[] raw = _ide.Packet([0xBE, 0, 0, 0, 0, 16, 0, 0, 2, 0xF8])!;
        Assert.Equal(2 * 2352, raw.Length);
        Assert.Equal([0, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 0, 0, 2, 0x16, 1], raw[..16]);
        Assert.Equal(_disc.Content.AsSpan(17 * 2048, 2048).ToArray(), raw.AsSpan(2352 + 16, 2048).ToArray());
        Assert.Equal([0, 2, 0x17, 1], raw[(2352 + 12)..(2352 + 16)]);
        foreach (int start in (int[])[0, 2352])
        {
            CheckEdc(raw.AsSpan(start, 2352));
            CheckParity(raw.AsSpan(start + 12, 2340), 86, 24, 2, 86, 2064, 2064 + 86);
            CheckParity(raw.AsSpan(start + 12, 2340), 52, 43, 86, 88, 2236, 2236 + 52);
        }

        // Header and user data; user data by MSF.
        byte[] part = _ide.Packet([0xBE, 0, 0, 0, 0, 16, 0, 0, 1, 0x30])!;
        Assert.Equal(raw[12..(16 + 2048)], part);
        Assert.Equal(_disc.Content.AsSpan(16 * 2048, 2048).ToArray(), _ide.Packet([0xB9, 0, 0, 0, 2, 16, 0, 2, 17, 0x10])!);
        Assert.Null(_ide.Packet([0xBE, 4, 0, 0, 0, 16, 0, 0, 1, 0x10]));
        Assert.Equal((5, 0x64, 0), _ide.Sense());
        Assert.Null(_ide.Packet([0xBE, 0, 0, 0, 0, 16, 0, 0, 1, 0x10, 2]));
    }

    [Fact]
    public async Task The_medium_can_be_changed()
    {
        // Nothing has happened so far.
        Assert.Equal([0, 6, 4, 0x12, 0, 2, 0, 0], _ide.Packet([0x4A, 1, 0, 0, 0x10, 0, 0, 0, 8]));
        await ChangeAsync(null);
        Assert.Null(_ide.Packet([0x00]));
        Assert.Equal((2, 0x3A, 1), _ide.Sense());
        Assert.Equal([0, 6, 4, 0x12, 3, 0, 0, 0], _ide.Packet([0x4A, 1, 0, 0, 0x10, 0, 0, 0, 8]));
        var other = new MemoryBlockBackend(10 * 2048) { IsReadOnly = true };
        await ChangeAsync(other);
        Assert.Equal([0, 6, 4, 0x12, 2, 2, 0, 0], _ide.Packet([0x4A, 1, 0, 0, 0x10, 0, 0, 0, 8]));
        Assert.Null(_ide.Packet([0x00]));
        Assert.Equal((6, 0x28, 0), _ide.Sense());
        Assert.Equal([0, 0, 0, 9, 0, 0, 8, 0], _ide.Packet([0x25]));
        // Asked for without polling.
        Assert.Null(_ide.Packet([0x4A, 0, 0, 0, 0x10, 0, 0, 0, 8]));
    }

    [Fact]
    public async Task A_read_of_a_medium_that_is_taken_out_fails()
    {
        _disc.Close();
        _ide.SendPacket([0x28, 0, 0, 0, 0, 0, 0, 0, 1]);
        Assert.Equal(0x80, _ide.AlternateStatus & 0x80);
        Task gone;
        lock (_ide.Gate)
            gone = _drive.ChangeMedium(null);
        Assert.Equal(0x51, _ide.End());
        Assert.False(gone.IsCompleted);
        _disc.Open();
        await gone.WaitAsync(TimeSpan.FromSeconds(30));
        Assert.Equal((2, 0x3A, 1), _ide.Sense());
    }

    [Fact]
    public void The_guest_locks_and_moves_the_tray()
    {
        Assert.NotNull(_ide.Packet([0x1E, 0, 0, 0, 1]));
        Assert.True(_drive.IsLocked);
        Assert.Null(_ide.Packet([0x1B, 0, 0, 0, 2]));
        Assert.Equal((5, 0x53, 2), _ide.Sense());
        lock (_ide.Gate)
            _drive.RequestEject();
        Assert.Equal([0, 6, 4, 0x12, 1, 2, 0, 0], _ide.Packet([0x4A, 1, 0, 0, 0x10, 0, 0, 0, 8]));
        Assert.NotNull(_ide.Packet([0x1E, 0, 0, 0, 0]));
        Assert.NotNull(_ide.Packet([0x1B, 0, 0, 0, 2]));
        Assert.True(_drive.IsTrayOpen);
        Assert.Null(_ide.Packet([0x00]));
        Assert.Equal((2, 0x3A, 2), _ide.Sense());
        Assert.NotNull(_ide.Packet([0x1B, 0, 0, 0, 3]));
        Assert.Null(_ide.Packet([0x00]));
        Assert.Equal((6, 0x28, 0), _ide.Sense());
        Assert.NotNull(_ide.Packet([0x00]));
    }

    [Fact]
    public void Parameters_are_taken_and_checked()
    {
        _ide.SendPacket([0x55, 0x10, 0, 0, 0, 0, 0, 0, 16, 0]);
        Assert.Equal(8, _ide.Wait() & 9);
        Assert.Equal(0, _ide.In(IdeMachine.Count) & 3);
        byte[] list = [0, 0, 0, 0, 0, 0, 0, 0, 1, 6, 0, 5, 0, 0, 0, 0];
        for (int i = 0; i < list.Length; i += 2)
            _ide.OutPort(0x1F0 - 0x80, 2, BinaryPrimitives.ReadUInt16LittleEndian(list.AsSpan(i)));
        Assert.Equal(0x50, _ide.End());
    }

    [Theory]
    [InlineData(0)]
    [InlineData(3)]
    [InlineData(1023)]
    [InlineData(1024)]
    [InlineData(33000)]
    public async Task A_transfer_goes_on_in_another_machine(int words)
    {
        _ide.SendPacket([0xBE, 0, 0, 0, 0, 16, 0, 0, 40, 0xF8], 2352);
        byte[] expected = [.. Enumerable.Range(16, 40).SelectMany(i => Raw((uint)i))];
        var data = new List<byte>();
        for (int i = 0; i < words; i++)
        {
            _ = _ide.Wait();
            data.AddRange(BitConverter.GetBytes((ushort)_ide.InPort(0x170, 2)));
        }

        using IdeMachine there = Make(ready: false);
        await there.MoveFromAsync(_ide);
        while ((there.Wait() & 8) != 0)
            data.AddRange(BitConverter.GetBytes((ushort)there.InPort(0x170, 2)));
        Assert.Equal(0x50, there.End());
        Assert.Equal(expected, data);
    }

    private byte[] Raw(uint block)
    {
        byte[] sector = new byte[2352];
        _disc.Content.AsSpan((int)block * 2048, 2048).CopyTo(sector.AsSpan(16));
        CdSector.Complete(sector, block);
        return sector;
    }

    // The remainder of the division by the polynomial, bit by bit.
    private static void CheckEdc(ReadOnlySpan<byte> sector)
    {
        uint edc = 0;
        foreach (byte part in sector[..2068])
        {
            edc ^= part;
            for (int bit = 0; bit < 8; bit++)
                edc = (edc >> 1) ^ ((edc & 1) != 0 ? 0xD801_8001u : 0);
        }

        Assert.Equal(0u, edc);
    }

    // Both check rows of a code word must give 0: the sum of its bytes, and the sum with weights that are powers of 2.
    private static void CheckParity(ReadOnlySpan<byte> data, int majors, int minors, int majorStep, int minorStep, int first, int second)
    {
        static int Double(int x) => (x << 1) ^ ((x & 0x80) != 0 ? 0x11D : 0);
        for (int major = 0; major < majors; major++)
        {
            var word = new List<byte>();
            int index = ((major >> 1) * majorStep) + (major & 1);
            for (int minor = 0; minor < minors; minor++, index = (index + minorStep) % (majors * minors))
                word.Add(data[index]);
            word.Add(data[first + major]);
            word.Add(data[second + major]);
            Assert.Equal(0, word.Aggregate(0, (sum, b) => sum ^ b));
            Assert.Equal(0, word.Aggregate(0, (sum, b) => Double(sum) ^ b));
        }
    }

    private async Task ChangeAsync(MemoryBlockBackend? medium)
    {
        Task changed;
        lock (_ide.Gate)
            changed = _drive.ChangeMedium(medium);
        await changed;
    }

    private IdeMachine Make(bool ready = true)
    {
        var ide = new IdeMachine(cd: platform => _drive = new AtapiCdrom("cd0", _disc, platform)) { Channel = 0x170 };
        if (ready)
            Assert.Null(ide.Packet([0x00]));
        return ide;
    }
}
