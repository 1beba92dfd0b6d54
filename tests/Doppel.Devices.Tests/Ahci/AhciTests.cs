using System.Buffers.Binary;
using Doppel.Devices.Storage;
using Doppel.Devices.Tests.Virtio;
using Doppel.Machine.Tests;
using Xunit.Abstractions;

namespace Doppel.Devices.Tests.Ahci;

/// <summary>The AHCI controller, by AHCI 1.3.1 and Serial ATA's frames.</summary>
public sealed class AhciTests : IDisposable
{
    private const ulong Buffers = AhciMachine.Buffers;
    private readonly ITestOutputHelper _output;
    private readonly MemoryBlockBackend _disk = new(1 << 20);
    private readonly MemoryBlockBackend _disc = new(1 << 20) { IsReadOnly = true };
    private readonly AhciMachine _ahci;

    public AhciTests(ITestOutputHelper output)
    {
        _output = output;
        new Random(1).NextBytes(_disk.Content);
        new Random(2).NextBytes(_disc.Content);
        _ahci = new AhciMachine(_disk, _disc);
        _ahci.Start();
    }

    public void Dispose() => _ahci.Dispose();

    [Fact]
    public void Ports_say_what_is_connected()
    {
        Assert.Equal(0x3Fu, _ahci.Read(0x0C));
        Assert.Equal(0x0001_0301u, _ahci.Read(0x10));
        Assert.Equal(5u, _ahci.Read(0) & 31);
        Assert.Equal((0x0101u, 0xEB14_0101u, uint.MaxValue), (_ahci.ReadPort(0, AhciMachine.Sig), _ahci.ReadPort(1, AhciMachine.Sig), _ahci.ReadPort(2, AhciMachine.Sig)));
        Assert.Equal((0x133u, 0x133u, 0u), (_ahci.ReadPort(0, AhciMachine.Ssts), _ahci.ReadPort(1, AhciMachine.Ssts), _ahci.ReadPort(2, AhciMachine.Ssts)));
        Assert.Equal(0x150u, _ahci.ReadPort(0, AhciMachine.Tfd));
        // The frame with the signature is where frames are received.
        Assert.Equal([0x34, 0, 0x50, 1, 1, 0, 0], _ahci.Bytes(AhciMachine.Received + 0x40, 7));
        // COMRESET.
        _ahci.WritePort(0, AhciMachine.Sctl, 1);
        Assert.Equal(0u, _ahci.ReadPort(0, AhciMachine.Ssts));
        _ahci.WritePort(0, AhciMachine.Sctl, 0);
        Assert.Equal(0x133u, _ahci.ReadPort(0, AhciMachine.Ssts));
        Assert.Equal(0x0400_0000u, _ahci.ReadPort(0, AhciMachine.Serr));
        Assert.Equal(0x40u, _ahci.ReadPort(0, AhciMachine.Is) & 0x40);
    }

    [Fact]
    public void Identification_comes_by_pio_frames()
    {
        Assert.Equal((0x50, 0), _ahci.Do(0, AhciMachine.Frame(0xEC), [(Buffers, 512)]));
        byte[] identity = _ahci.Bytes(Buffers, 512);
        ushort Word(int i) => BinaryPrimitives.ReadUInt16LittleEndian(identity.AsSpan(2 * i));
        Assert.Equal(31, Word(75));
        Assert.Equal(0x100, Word(76) & 0x100);
        Assert.Equal(2048, Word(60));
        Assert.Equal([0x5F, 0x60], _ahci.Bytes(AhciMachine.Received + 0x20, 2));
        Assert.Equal(512, BinaryPrimitives.ReadUInt16LittleEndian(_ahci.Bytes(AhciMachine.Received + 0x30, 2)));
        Assert.Equal(512, BitConverter.ToInt32(_ahci.Bytes(AhciMachine.CommandList + 4, 4)));
    }

    [Theory]
    [InlineData(0x25, 0x35, 300)]
    [InlineData(0x24, 0x34, 5)]
    [InlineData(0xC8, 0xCA, 200)]
    [InlineData(0x29, 0x39, 40)]
    public void Sectors_move_over_regions(int read, int write, int count)
    {
        (ulong, int)[] regions = [(Buffers + 2, 1000), (Buffers + 0x1_0000, (count * 512) - 1000)];
        Assert.Equal((0x50, 0), _ahci.Do(0, AhciMachine.Frame((byte)read, 100, count), regions));
        byte[] data = [.. _ahci.Bytes(Buffers + 2, 1000), .. _ahci.Bytes(Buffers + 0x1_0000, (count * 512) - 1000)];
        Assert.Equal(_disk.Content.AsSpan(100 * 512, count * 512).ToArray(), data);
        Assert.Equal((0x50, 0), _ahci.Do(0, AhciMachine.Frame((byte)write, 1000, count), regions, writes: true));
        Assert.Equal(data, _disk.Content.AsSpan(1000 * 512, count * 512).ToArray());
    }

    [Fact]
    public void Queued_commands_are_done_side_by_side()
    {
        _disk.Close();
        for (int tag = 0; tag < 32; tag++)
            _ahci.Prepare(0, tag, AhciMachine.Queued(tag % 2 == 1, tag, (ulong)(tag * 8), 8), [(Buffers + (ulong)(tag * 0x2000), 2048), (Buffers + (ulong)(tag * 0x2000) + 4096, 2048)], writes: tag % 2 == 1);
        byte[] before = [.. _disk.Content];
        for (int tag = 1; tag < 32; tag += 2)
            _ahci.Put(Buffers + (ulong)(tag * 0x2000), [.. Enumerable.Repeat((byte)tag, 0x2000)]);
        _ahci.WritePort(0, AhciMachine.Sact, uint.MaxValue);
        _ahci.WritePort(0, AhciMachine.Ci, uint.MaxValue);
        Assert.Equal(0u, _ahci.ReadPort(0, AhciMachine.Ci));
        Assert.Equal(uint.MaxValue, _ahci.ReadPort(0, AhciMachine.Sact));
        _disk.Open();
        AhciMachine.Wait(() => _ahci.ReadPort(0, AhciMachine.Sact) == 0);
        Assert.Equal(8u, _ahci.ReadPort(0, AhciMachine.Is) & 8);
        Assert.True(_ahci.Line.Level);
        for (int tag = 0; tag < 32; tag++)
        {
            byte[] disk = _disk.Content.AsSpan(tag * 4096, 4096).ToArray();
            if (tag % 2 == 1)
                Assert.All(disk, b => Assert.Equal(tag, b));
            else
                Assert.Equal(before.AsSpan(tag * 4096, 4096).ToArray(), _ahci.Bytes(Buffers + (ulong)(tag * 0x2000), 2048).Concat(_ahci.Bytes(Buffers + (ulong)(tag * 0x2000) + 4096, 2048)).ToArray());
        }

        _ahci.WritePort(0, AhciMachine.Is, uint.MaxValue);
        Assert.False(_ahci.Line.Level);
    }

    [Fact]
    public void An_error_stops_the_queue_and_is_in_the_log()
    {
        _ahci.Prepare(0, 3, AhciMachine.Queued(false, 3, 2047, 2), [(Buffers, 1024)]);
        _ahci.WritePort(0, AhciMachine.Sact, 8);
        _ahci.WritePort(0, AhciMachine.Ci, 8);
        AhciMachine.Wait(() => (_ahci.ReadPort(0, AhciMachine.Is) & 0x4000_0000) != 0);
        Assert.Equal(0x1041u, _ahci.ReadPort(0, AhciMachine.Tfd));
        Assert.Equal(8u, _ahci.ReadPort(0, AhciMachine.Sact));
        _ahci.Restart(0);
        Assert.Equal(0u, _ahci.ReadPort(0, AhciMachine.Sact));
        Assert.Equal((0x50, 0), _ahci.Do(0, AhciMachine.Frame(0x2F, 0x10, 1), [(Buffers, 512)]));
        byte[] log = _ahci.Bytes(Buffers, 512);
        Assert.Equal([3, 0, 0x41, 0x10, 0xFF, 7], log[..6]);
        Assert.Equal(0, log.Sum(b => b) & 0xFF);
        // What isn't queued stops on an error, too.
        Assert.Equal((0x51, 0x10), _ahci.Do(0, AhciMachine.Frame(0x25, 5000, 1), [(Buffers, 512)]));
        Assert.Equal(1u, _ahci.ReadPort(0, AhciMachine.Ci));
        _ahci.Restart(0);
        Assert.Equal(0u, _ahci.ReadPort(0, AhciMachine.Ci));
        Assert.Equal((0x50, 0), _ahci.Do(0, AhciMachine.Frame(0x25, 5, 1), [(Buffers, 512)]));
    }

    [Fact]
    public void Packets_go_to_the_cd_drive()
    {
        // After power-on: unit attention; then a read.
        Assert.Equal((0x51, 0x60), _ahci.Do(1, AhciMachine.Frame(0xA0), [], packet: new byte[12]));
        _ahci.Restart(1);
        byte[] read = [0x28, 0, 0, 0, 0, 20, 0, 0, 40, 0, 0, 0];
        foreach (int dma in (int[])[0, 1])
        {
            _ahci.Put(Buffers, new byte[40 * 2048]);
            Assert.Equal(0x50, _ahci.Do(1, AhciMachine.Frame(0xA0, 0xFFFE00, features: dma), [(Buffers, 40 * 2048)], packet: read).Status);
            Assert.Equal(_disc.Content.AsSpan(20 * 2048, 40 * 2048).ToArray(), _ahci.Bytes(Buffers, 40 * 2048));
        }

        Assert.Equal((0x50, 0), _ahci.Do(1, AhciMachine.Frame(0xA1), [(Buffers, 512)]));
        Assert.Equal([0xC0, 0x85], _ahci.Bytes(Buffers, 2));
    }

    [Fact]
    public void Regions_that_are_too_short_or_nowhere_are_errors()
    {
        Assert.Equal(0x50, _ahci.Do(0, AhciMachine.Frame(0x25, 0, 2), [(Buffers, 512)]).Status);
        Assert.Equal((0x51, 4), _ahci.Do(0, AhciMachine.Frame(0x35, 0, 2), [(Buffers, 512)], writes: true));
        _ahci.Restart(0);
        _ahci.Prepare(0, 0, AhciMachine.Queued(false, 0, 0, 1), [(0x8000_0000, 512)]);
        _ahci.WritePort(0, AhciMachine.Sact, 1);
        _ahci.WritePort(0, AhciMachine.Ci, 1);
        AhciMachine.Wait(() => (_ahci.ReadPort(0, AhciMachine.Is) & 0x4000_0000) != 0);
        _ahci.Restart(0);
        // A command list that isn't there.
        _ahci.WritePort(0, AhciMachine.Cmd, 0x16);
        _ahci.WritePort(0, 0x04, 0x10);
        _ahci.WritePort(0, AhciMachine.Cmd, 0x17);
        _ahci.WritePort(0, AhciMachine.Ci, 1);
        Assert.Equal(0x1000_0000u, _ahci.ReadPort(0, AhciMachine.Is) & 0x1000_0000);
    }

    [Fact]
    public void A_frame_with_the_reset_bit_resets_the_drive()
    {
        byte[] frame = new byte[20];
        (frame[0], frame[15]) = (0x27, 4);
        _ahci.Prepare(0, 0, frame, []);
        _ahci.WritePort(0, AhciMachine.Ci, 1);
        Assert.Equal(0x80u, _ahci.ReadPort(0, AhciMachine.Tfd) & 0x80);
        frame[15] = 0;
        _ahci.Prepare(0, 1, frame, []);
        _ahci.WritePort(0, AhciMachine.Ci, 2);
        Assert.Equal(0x150u, _ahci.ReadPort(0, AhciMachine.Tfd));
        Assert.Equal(0u, _ahci.ReadPort(0, AhciMachine.Ci));
    }

    [Fact]
    public void Messages_replace_the_line()
    {
        // The capability is the first, at 40h.
        _ahci.Controller.WriteConfig(0x44, 4, 0xFEE0_0000);
        _ahci.Controller.WriteConfig(0x4C, 2, 0x41);
        _ahci.Controller.WriteConfig(0x42, 2, 1);
        Assert.Equal((0x50, 0), _ahci.Do(0, AhciMachine.Frame(0x25, 0, 1), [(Buffers, 512)]));
        Assert.NotEmpty(_ahci.Messages.Messages);
        Assert.False(_ahci.Line.Level);
    }

    [Fact]
    public async Task Queued_commands_go_on_in_another_machine()
    {
        await _ahci.Controller.HoldAsync();
        // Held, nothing is begun; the issued bits are saved.
        for (int tag = 0; tag < 4; tag++)
            _ahci.Prepare(0, tag, AhciMachine.Queued(false, tag, (ulong)(tag * 8), 8), [(Buffers + (ulong)(tag * 4096), 4096)]);
        _ahci.WritePort(0, AhciMachine.Sact, 15);
        _ahci.WritePort(0, AhciMachine.Ci, 15);
        using var there = new AhciMachine(_disk, _disc);
        await there.MoveFromAsync(_ahci);
        AhciMachine.Wait(() => there.ReadPort(0, AhciMachine.Sact) == 0);
        Assert.Equal(_disk.Content.AsSpan(0, 16384).ToArray(), there.Bytes(Buffers, 16384));
    }

    [Fact]
    public async Task A_full_host_makes_commands_wait_and_they_are_saved()
    {
        var told = new TaskCompletionSource<StorageFullException>();
        using var ahci = new AhciMachine(_disk, _disc, e => told.TrySetResult(e));
        ahci.Start();
        _disk.Error = new StorageFullException("full");
        ahci.Put(Buffers, [.. Enumerable.Repeat((byte)9, 4096)]);
        ahci.Prepare(0, 0, AhciMachine.Queued(true, 5, 16, 8), [(Buffers, 4096)], writes: true);
        ahci.WritePort(0, AhciMachine.Sact, 32);
        ahci.WritePort(0, AhciMachine.Ci, 1);
        _ = await told.Task.WaitAsync(TimeSpan.FromSeconds(30));
        _disk.Error = null;
        using var there = new AhciMachine(_disk, _disc);
        await there.MoveFromAsync(ahci);
        AhciMachine.Wait(() => there.ReadPort(0, AhciMachine.Sact) == 0);
        Assert.Equal(9, _disk.Content[16 * 512]);
    }

    [Fact]
    public Task Random_accesses_do_no_harm() => HarmAsync(20_000);

    [Fact]
    [Trait("Category", "Slow")]
    public Task A_million_random_accesses_do_no_harm() => HarmAsync(1_000_000);

    private async Task HarmAsync(int accesses)
    {
        int seed = TestSeed.Take(_output);
        var random = new Random(seed);
        byte[] commands = [0x60, 0x61, 0x60, 0x61, 0x25, 0x35, 0x24, 0x34, 0xC8, 0xCA, 0xEC, 0xA0, 0xA0, 0xA1, 0x06, 0x2F, 0xE7, 0xB0, 0xEF, 0x40];
        AhciMachine ahci = new(_disk, _disc);
        try
        {
            ahci.Start();
            for (int i = 0; i < accesses; i++)
            {
                int port = random.Next(3);
                switch (random.Next(12))
                {
                    case 0:
                        // Not the addresses of list and frames, which may be anywhere.
                        ahci.WritePort(port, 0x10 + (4 * random.Next(11)), (uint)random.NextInt64());
                        break;
                    case 1:
                        _ = ahci.Read(random.Next(0x1100) & ~3);
                        break;
                    case 2:
                        ahci.WritePort(port, AhciMachine.Cmd, random.Next(2) == 0 ? 0x17u : 0x16u);
                        break;
                    case 3:
                        if (random.Next(20) == 0)
                            ahci.Write(4, (uint)random.Next(4));
                        else
                            ahci.Write(random.Next(0x40) & ~3, (uint)random.NextInt64() & ~1u);
                        break;
                    case 4:
                        ahci.WritePort(port, AhciMachine.Is, uint.MaxValue);
                        ahci.WritePort(port, AhciMachine.Serr, uint.MaxValue);
                        break;
                    case 5 or 6:
                        ahci.WritePort(port, random.Next(2) == 0 ? AhciMachine.Sact : AhciMachine.Ci, 1u << random.Next(32));
                        break;
                    case 7:
                        if (random.Next(10) == 0)
                            ahci.Start();
                        break;
                    default:
                        int slot = random.Next(32);
                        var regions = new (ulong, int)[random.Next(5)];
                        for (int r = 0; r < regions.Length; r++)
                            regions[r] = (random.Next(10) == 0 ? (ulong)random.NextInt64(AhciMachine.Buffers, 1L << 33) : (ulong)random.Next((int)Buffers, (int)AhciMachine.RamSize), random.Next(1, 0x4000));
                        byte[] frame = random.Next(2) == 0
                            ? AhciMachine.Queued(random.Next(2) == 0, slot, (ulong)random.Next(2050), random.Next(1, 20))
                            : AhciMachine.Frame(commands[random.Next(commands.Length)], (ulong)random.Next(2050), random.Next(20), random.Next(3));
                        if (random.Next(8) == 0)
                            frame[random.Next(20)] = (byte)random.Next(256);
                        byte[] packet = new byte[12];
                        random.NextBytes(packet);
                        if (random.Next(2) == 0)
                            packet = [(byte)(random.Next(2) == 0 ? 0x28 : 0xBE), 0, 0, 0, 0, (byte)random.Next(200), 0, 0, (byte)random.Next(50), 0xF8, 0, 0];
                        if (random.Next(3) != 0)
                            port = random.Next(2);
                        ahci.Prepare(Math.Min(port, 1), slot, frame, regions, packet: packet);
                        ahci.WritePort(port, AhciMachine.Ci, 1u << slot);
                        break;
                }

                if (random.Next(4000) == 0)
                {
                    AhciMachine there = new(_disk, _disc);
                    await there.MoveFromAsync(ahci);
                    ahci.Dispose();
                    ahci = there;
                }
            }

            ahci.Start();
            Assert.Equal((0x50, 0), ahci.Do(0, AhciMachine.Frame(0x25, 7, 1), [(Buffers, 512)]));
            Assert.Equal(_disk.Content[3584..4096], ahci.Bytes(Buffers, 512));
        }
        finally
        {
            ahci.Dispose();
        }
    }
}
