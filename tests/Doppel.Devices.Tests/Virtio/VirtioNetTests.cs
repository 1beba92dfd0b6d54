using System.Buffers.Binary;
using Doppel.Devices.Network;
using Doppel.Devices.Tests.Network;
using Doppel.Devices.Virtio;
using Doppel.Machine.Memory;
using Xunit.Abstractions;

namespace Doppel.Devices.Tests.Virtio;

/// <summary>The network card's own rules: offloads both ways, filters, commands, link state, and work on another thread.</summary>
public sealed class VirtioNetTests : IDisposable
{
    private const ulong GuestOffloads = (1UL << 1) | (1UL << 7) | (1UL << 8) | (1UL << 9) | (1UL << 54) | (1UL << 55);
    private const ulong Mergeable = 1UL << 15, ControlVlan = 1UL << 19;
    private const int Transmit = 1, Control = 4;
    private readonly ITestOutputHelper _output;
    private readonly GuestMemory _memory = new(VirtioSubject.RamSize);
    private readonly Lock _gate = new();
    private readonly MemoryNetwork _network = new();
    private readonly VirtioNet _device;
    private readonly MmioAccess _access;
    private readonly Dictionary<int, (ulong Address, int Size)> _offered = [];

    public VirtioNetTests(ITestOutputHelper output)
    {
        _output = output;
        _device = Make(_network.Connect(), _memory);
        _access = new MmioAccess(_device, _gate);
    }

    public void Dispose()
    {
        _device.Dispose();
        _memory.Dispose();
    }

    [Theory]
    [InlineData(NetworkOffloads.All)]
    [InlineData(NetworkOffloads.Checksum)]
    [InlineData(NetworkOffloads.None)]
    public async Task What_the_back_end_does_not_take_unfinished_is_finished(NetworkOffloads offloads)
    {
        _network.Offloads = offloads;
        VirtioDriver driver = Start();
        Random random = Seeded();
        foreach (SegmentKind kind in (SegmentKind[])[SegmentKind.Tcp4, SegmentKind.Tcp6, SegmentKind.Udp])
        {
            _network.Sent.Clear();
            (FrameOffload offload, byte[] frame) = Frames.Unfinished(random, kind, kind == SegmentKind.Tcp6, 5000, 1000);
            await SendAsync(driver, offload, frame);
            if (offloads == NetworkOffloads.All)
            {
                Assert.Equal((offload, frame), Assert.Single(_network.Sent), Same);
                continue;
            }

            Assert.Equal(5, _network.Sent.Count);
            Assert.Equal(frame[^5000..], _network.Sent.SelectMany(sent => Frames.Check(sent.Frame)));
            Assert.All(_network.Sent, sent => Assert.Equal(default, sent.Offload));
        }
    }

    [Fact]
    public async Task A_checksum_is_completed_for_a_back_end_that_can_not()
    {
        _network.Offloads = NetworkOffloads.None;
        VirtioDriver driver = Start();
        (FrameOffload offload, byte[] frame) = Frames.Unfinished(Seeded(), SegmentKind.Udp, isIpv6: false, 333, 0);
        await SendAsync(driver, offload, frame);
        Assert.Equal(frame[^333..], Frames.Check(Assert.Single(_network.Sent).Frame));
    }

    [Fact]
    public async Task Frames_that_make_no_sense_are_dropped_and_the_card_goes_on()
    {
        VirtioDriver driver = Start();
        (FrameOffload good, byte[] frame) = Frames.Unfinished(Seeded(), SegmentKind.Tcp4, isIpv6: false, 3000, 1000);
        FrameOffload[] bad =
        [
            good with { ChecksumStart = 5000 },
            good with { ChecksumOffset = ushort.MaxValue },
            good with { SegmentSize = 0 },
            good with { Kind = SegmentKind.Tcp6 },
            good with { Kind = SegmentKind.Udp },
            good with { Kind = (SegmentKind)3 },
            good with { NeedsChecksum = false },
            good with { ChecksumStart = 33 },
        ];
        foreach (FrameOffload offload in bad)
            await SendAsync(driver, offload, frame);
        await SendAsync(driver, default, frame[..13]);
        await SendAsync(driver, default, new byte[70_000]);
        Assert.Empty(_network.Sent);
        await SendAsync(driver, good, frame);
        _ = Assert.Single(_network.Sent);
        Assert.Null(_device.Fault);
    }

    [Fact]
    public void A_large_frame_reaches_a_guest_whole_if_it_can_and_cut_if_not()
    {
        (FrameOffload offload, byte[] frame) = Frames.Unfinished(Seeded(), SegmentKind.Tcp4, isIpv6: false, 4000, 1000);
        VirtioDriver driver = Start();
        Offer(driver, 3, 1500);
        _network.Deliver(frame, offload);
        List<byte[]> whole = Collect(driver);
        Assert.Equal(3, whole.Count);
        byte[] all = [.. whole.SelectMany(piece => piece)];
        Assert.Equal(3, BinaryPrimitives.ReadUInt16LittleEndian(all.AsSpan(10)));
        Assert.True(FrameOffload.TryRead(all, all.AsSpan(12), out FrameOffload read));
        Assert.Equal(offload, read);
        Assert.Equal(frame, all[12..]);

        driver = Start(~GuestOffloads);
        Offer(driver, 4, 2048);
        _network.Deliver(frame, offload);
        List<byte[]> cut = Collect(driver);
        Assert.Equal(4, cut.Count);
        Assert.Equal(frame[^4000..], cut.SelectMany(piece => Frames.Check(piece[12..])));
    }

    [Fact]
    public void A_frame_that_is_cut_goes_on_when_there_is_room_again()
    {
        (FrameOffload offload, byte[] frame) = Frames.Unfinished(Seeded(), SegmentKind.Tcp6, isIpv6: true, 7000, 1000);
        VirtioDriver driver = Start(~(GuestOffloads | Mergeable));
        var pieces = new List<byte[]>();
        Offer(driver, 2, 1200);
        _network.Deliver(frame, offload);
        for (int i = 0; i < 5; i++)
        {
            pieces.AddRange(Collect(driver));
            Offer(driver, 1, 1200);
        }

        pieces.AddRange(Collect(driver));
        Assert.Equal(frame[^7000..], pieces.SelectMany(piece => Frames.Check(piece[12..])));
    }

    [Fact]
    public void A_frame_waits_until_there_are_enough_buffers_for_all_of_it()
    {
        VirtioDriver driver = Start();
        byte[] frame = Frames.Random(Seeded(), 1000);
        Offer(driver, 2, 400);
        _network.Deliver(frame);
        Assert.Empty(Collect(driver));
        Offer(driver, 1, 400);
        Assert.Equal(frame, Collect(driver).SelectMany(piece => piece).Skip(12));
        Assert.Equal(0, _device.Queues[0].TakenCount);
    }

    [Fact]
    public void Without_merging_a_frame_that_does_not_fit_is_dropped()
    {
        VirtioDriver driver = Start(~Mergeable);
        Offer(driver, 1, 400);
        _network.Deliver(Frames.Random(Seeded(), 1000));
        byte[] small = Frames.Random(Seeded(), 100);
        _network.Deliver(small);
        Assert.Equal(small, Assert.Single(Collect(driver))[12..]);
    }

    [Fact]
    public void A_buffer_without_room_for_a_header_asks_for_a_reset()
    {
        VirtioDriver driver = Start();
        Offer(driver, 1, 11);
        _network.Deliver(Frames.Random(Seeded(), 100));
        Assert.NotNull(_device.Fault);
        Assert.NotEqual(0, _access.Status & 64);
    }

    [Fact]
    public async Task Only_what_the_guest_wants_reaches_it()
    {
        VirtioDriver driver = Start(~ControlVlan);
        Random random = Seeded();
        byte[] Addressed(ulong to)
        {
            byte[] frame = Frames.Random(random, 60);
            new MacAddress(to).Write(frame);
            return frame;
        }

        const ulong Own = 0x02_00_00_00_00_01, Other = 0x02_00_00_00_00_02, Group = 0x01_00_5E_00_00_01;
        bool Arrives(ulong to)
        {
            Offer(driver, 1, 100);
            _network.Deliver(Addressed(to));
            bool arrives = Collect(driver).Count == 1;
            if (!arrives)
            {
                // The buffer is used up by a frame that is wanted in any case.
                _network.Deliver(Addressed(MacAddress.Broadcast.Value));
                _ = Assert.Single(Collect(driver));
            }

            return arrives;
        }

        byte[] own = [2, 0, 0, 0, 0, 1];
        Assert.True(Arrives(Other));
        Assert.True(await CommandAsync(driver, [0, 0, 0]));
        Assert.True(await CommandAsync(driver, [1, 1, .. own]));
        Assert.True(Arrives(Own));
        Assert.False(Arrives(Other));
        Assert.False(Arrives(Group));
        Assert.True(await CommandAsync(driver, [1, 0, 1, 0, 0, 0, 2, 0, 0, 0, 0, 2, 1, 0, 0, 0, 1, 0, 0x5E, 0, 0, 1]));
        Assert.True(Arrives(Other));
        Assert.True(Arrives(Group));
        Assert.True(await CommandAsync(driver, [1, 0, 0, 0, 0, 0, 0, 0, 0, 0]));
        Assert.False(Arrives(Group));
        Assert.True(await CommandAsync(driver, [0, 1, 1]));
        Assert.True(Arrives(Group));
        Assert.True(await CommandAsync(driver, [0, 3, 1]));
        Assert.False(Arrives(Group));
        Assert.Equal(own, Config(_access, 0, 6));
    }

    [Fact]
    public async Task VLANs_are_let_through_as_the_guest_says()
    {
        VirtioDriver driver = Start();
        byte[] tagged = Frames.Random(Seeded(), 60);
        (tagged[12], tagged[13], tagged[14], tagged[15]) = (0x81, 0, 0x20, 7);
        Offer(driver, 2, 100);
        _network.Deliver(tagged);
        Assert.Empty(Collect(driver));
        Assert.True(await CommandAsync(driver, [2, 0, 7, 0]));
        _network.Deliver(tagged);
        _ = Assert.Single(Collect(driver));
        Assert.True(await CommandAsync(driver, [2, 1, 7, 0]));
        _network.Deliver(tagged);
        Assert.Empty(Collect(driver));
    }

    [Fact]
    public async Task Commands_that_make_no_sense_are_refused()
    {
        VirtioDriver driver = Start();
        byte[][] commands =
        [
            [0, 0], [0, 9, 1], [1, 0, 1], [1, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0, 0, 0], [1, 0, 0, 0, 0, 0, 1, 0, 0, 0], [1, 1, 1, 2], [2, 0, 0, 0x10], [2, 5, 0, 0],
            [3, 0], [4, 0, 0, 0], [4, 0, 3, 0], [4, 1, 1, 0], [5, 0, 0, 0, 0, 0, 0, 0, 0, 0x80], [5, 0, 1], [99, 0],
        ];
        foreach (byte[] command in commands)
            Assert.False(await CommandAsync(driver, command), string.Join(' ', command));
        Assert.True(await CommandAsync(driver, [4, 0, 2, 0]));
        Assert.True(await CommandAsync(driver, [5, 0, 2, 0, 0, 0, 0, 0, 0, 0]));
    }

    [Fact]
    public void The_guest_sees_its_link_go_and_come()
    {
        _ = Start();
        Assert.Equal([1, 0], Config(_access, 6, 2));
        Assert.Equal([2, 0, 0x28, 0x23], Config(_access, 8, 4));
        _network.SetConnected(false);
        Assert.Equal([0, 0], Config(_access, 6, 2));
        Assert.True(_access.TakeInterrupts() > 0);
        _network.SetConnected(true);
        _device.IsPluggedIn = false;
        Assert.Equal([0, 0], Config(_access, 6, 2));
        _device.IsPluggedIn = true;
        Assert.Equal([1, 0], Config(_access, 6, 2));
    }

    [Fact]
    public async Task A_restored_guest_is_asked_to_announce_itself()
    {
        VirtioDriver driver = Start();
        Assert.True(await CommandAsync(driver, [4, 0, 2, 0]));
        await _device.HoldAsync();
        byte[] state = _access.Save(), content = new byte[VirtioSubject.RamSize];
        Assert.True(_memory.TryRead(0, content));
        using var memory = new GuestMemory(VirtioSubject.RamSize);
        Assert.True(memory.TryWrite(0, content));
        using VirtioNet copy = Make(_network.Connect(), memory);
        var access = new MmioAccess(copy, _gate);
        access.Restore(state);
        Assert.Equal(state, access.Save());
        Assert.Equal([1, 0], Config(access, 6, 2));
        _network.Sent.Clear();
        copy.Release();
        // By itself it has told switches already (RFC 903: type 8035h, a request).
        byte[] announcement = Assert.Single(_network.Sent).Frame;
        Assert.Equal((60, 0xFF, 0x80, 0x35, 3), (announcement.Length, announcement[0], announcement[12], announcement[13], announcement[21]));
        Assert.Equal(announcement[6..12], announcement[22..28]);
        Assert.Equal([3, 0], Config(access, 6, 2));
        var moved = new VirtioDriver(access, memory, ulong.MaxValue);
        moved.Continue(driver);
        Assert.True(await CommandAsync(moved, [3, 0]));
        Assert.Equal([1, 0], Config(access, 6, 2));
    }

    [Fact]
    public async Task Flows_come_back_on_the_pair_that_sends_them()
    {
        VirtioDriver driver = Start();
        Assert.True(await CommandAsync(driver, [4, 0, 2, 0]));
        (_, byte[] frame) = Frames.Unfinished(Seeded(), SegmentKind.Tcp4, isIpv6: false, 100, 0);
        byte[] answer = [.. frame];
        frame.AsSpan(26, 4).CopyTo(answer.AsSpan(30));
        frame.AsSpan(30, 4).CopyTo(answer.AsSpan(26));
        frame.AsSpan(34, 2).CopyTo(answer.AsSpan(36));
        frame.AsSpan(36, 2).CopyTo(answer.AsSpan(34));
        foreach (int pair in (int[])[1, 0, 1])
        {
            await SendAsync(driver, default, frame, (2 * pair) + 1);
            _ = driver.Queues[2 * pair].Add([new DriverBuffer(driver.Allocate(500), 500, IsWritable: true)]);
            driver.Queues[2 * pair].Kick();
            _network.Deliver(answer);
            Assert.True(driver.Queues[2 * pair].TryGetUsed(out _, out uint written));
            Assert.Equal((uint)answer.Length + 12, written);
        }
    }

    [Fact]
    public async Task Frames_of_a_busy_card_survive_pauses_on_another_thread()
    {
        using var loop = new LoopNetwork();
        using var memory = new GuestMemory(VirtioSubject.RamSize);
        using VirtioNet device = Make(loop, memory);
        var access = new MmioAccess(device, _gate);
        var driver = new VirtioDriver(access, memory, ~(GuestOffloads | ControlVlan));
        driver.Start();
        Random random = Seeded();
        Task pauses = Task.Run(async () =>
        {
            for (int i = 0; i < 50; i++)
            {
                await device.HoldAsync();
                await Task.Yield();
                device.Release();
            }
        });
        for (int i = 0; i < 300 || !pauses.IsCompleted; i++)
        {
            byte[] frame = Frames.Random(random, random.Next(14, 1500));
            while (driver.Queues[0].TryGetUsed(out _, out _))
            {
            }

            if (driver.Queues[0].FreeSlots > 0)
                _ = driver.Queues[0].Add([new DriverBuffer(driver.Allocate(2000), 2000, IsWritable: true)]);
            driver.Queues[0].Kick();
            _ = await driver.DoAsync(Transmit, [new DriverBuffer(driver.Allocate([.. new byte[12], .. frame]), (uint)frame.Length + 12)]);
        }

        await pauses;
        Assert.Null(device.Fault);
    }

    [Fact]
    public void A_card_has_1_to_16_pairs_and_an_MTU_of_68_to_65535()
    {
        var platform = new DevicePlatform(_memory, _gate, _ => { });
        foreach (int pairs in (int[])[0, 17])
            Assert.Throws<ArgumentOutOfRangeException>(() => new VirtioNet("n", _network.Connect(), default, platform, pairs));
        foreach (int mtu in (int[])[67, 65536])
            Assert.Throws<ArgumentOutOfRangeException>(() => new VirtioNet("n", _network.Connect(), default, platform, mtu: mtu));
    }

    private static bool Same((FrameOffload Offload, byte[] Frame) a, (FrameOffload Offload, byte[] Frame) b) => a.Offload == b.Offload && a.Frame.AsSpan().SequenceEqual(b.Frame);

    private static byte[] Config(MmioAccess access, int offset, int count) => [.. Enumerable.Range(offset, count).Select(at => (byte)access.ReadConfig(at, 1))];

    private static async Task SendAsync(VirtioDriver driver, FrameOffload offload, byte[] frame, int queue = Transmit)
    {
        byte[] bytes = new byte[12 + frame.Length];
        offload.Write(bytes, 0);
        frame.CopyTo(bytes, 12);
        _ = await driver.DoAsync(queue, [new DriverBuffer(driver.Allocate(bytes), (uint)bytes.Length)]);
    }

    private static async Task<bool> CommandAsync(VirtioDriver driver, byte[] command)
    {
        ulong answer = driver.Allocate([0xFF]);
        Assert.Equal(1u, await driver.DoAsync(Control, [new(driver.Allocate(command), (uint)command.Length), new(answer, 1, IsWritable: true)]));
        byte value = driver.Bytes(answer, 1)[0];
        Assert.InRange(value, 0, 1);
        return value == 0;
    }

    private void Offer(VirtioDriver driver, int count, int size)
    {
        for (int i = 0; i < count; i++)
        {
            ulong address = driver.Allocate(size);
            _offered[driver.Queues[0].Add([new DriverBuffer(address, (uint)size, IsWritable: true)])] = (address, size);
        }

        driver.Queues[0].Kick();
    }

    private List<byte[]> Collect(VirtioDriver driver)
    {
        var pieces = new List<byte[]>();
        while (driver.Queues[0].TryGetUsed(out int id, out uint written))
            pieces.Add(driver.Bytes(_offered[id].Address, (int)written));
        return pieces;
    }

    private VirtioDriver Start(ulong wanted = ulong.MaxValue)
    {
        var driver = new VirtioDriver(_access, _memory, wanted);
        driver.Start();
        return driver;
    }

    private VirtioNet Make(INetworkBackend backend, GuestMemory memory) => new(
        "virtio-net0", backend, MacAddress.Derive("test"), new DevicePlatform(memory, _gate, e => Assert.Fail(e.Message)), pairs: 2, mtu: 9000);

    private Random Seeded()
    {
        int seed = Random.Shared.Next();
        _output.WriteLine($"seed {seed}");
        return new Random(seed);
    }
}
