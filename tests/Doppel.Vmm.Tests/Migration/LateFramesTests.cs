using System.Collections.Concurrent;
using Doppel.Devices.Network;
using Doppel.Host.Events;
using Doppel.Vmm.Execution;
using Doppel.Vmm.Migration;

namespace Doppel.Vmm.Tests.Migration;

/// <summary>What a network brings for a guest that has just moved.</summary>
public sealed class LateFramesTests
{
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(20);
    private static readonly byte[] First = [0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 1, 8, 0, 5], Second = [.. First[..^1], 6];

    [Fact]
    public void A_guest_that_stays_gets_it()
    {
        using var network = new BroughtNetwork();
        var guest = new Guest();
        network.Attach(guest);
        var late = new LateFrames([Card(network)]);
        network.Bring(First);
        network.Bring(Second);
        late.Return();
        byte[][] received = [guest.Take(), guest.Take()];
        Assert.Equal([First, Second], received.OrderBy(frame => frame[^1]));
    }

    [Fact]
    public async Task It_is_sent_after_a_guest_that_has_moved()
    {
        using var old = new BroughtNetwork();
        using var next = new BroughtNetwork();
        Guest stays = new(), moved = new();
        old.Attach(stays);
        next.Attach(moved);
        var late = new LateFrames([Card(old)]);
        old.Bring(First);
        old.Bring(Second);
        using var sent = new MemoryStream();
        var served = new TaskCompletionSource();
        using var limit = new CancellationTokenSource(Patience);
        Task sending = late.SendAsync(new MigrationStream(sent), served.Task, limit.Token);
        // The card, struct virtio_net_hdr and the length stand before each.
        while (sent.Length < 2 * (1 + FrameOffload.Length + 4 + First.Length))
            await Task.Delay(1, limit.Token);
        served.SetResult();
        await sending;
        Assert.True(stays.IsEmpty);
        sent.Position = 0;
        var received = new MigrationStream(sent);
        while (sent.Position < sent.Length)
        {
            Frame frame = await received.ReceiveAsync(limit.Token);
            Assert.Equal(FrameKind.Late, frame.Kind);
            LateFrames.Deliver(frame.Bytes, [Card(next)]);
        }

        Assert.Equal([First, Second], [moved.Take(), moved.Take()]);
    }

    [Fact]
    public void Nothing_that_a_source_sends_harms_the_target()
    {
        int seed = Environment.TickCount;
        var random = new Random(seed);
        using var network = new BroughtNetwork();
        for (int i = 0; i < 5_000; i++)
        {
            byte[] batch = new byte[random.Next(100)];
            random.NextBytes(batch);
            if (random.Next(2) == 0 && batch.Length > 17)
            {
                batch.AsSpan(0, 13).Clear();
                _ = BitConverter.TryWriteBytes(batch.AsSpan(13), random.Next(90));
            }

            try
            {
                LateFrames.Deliver(batch, [Card(network)]);
            }
            catch (Exception e)
            {
                Assert.Fail($"seed {seed}: {Convert.ToHexString(batch)}: {e}");
            }
        }
    }

    private static MachineNetwork Card(INetworkBackend network) => new(new NetworkSpec { Kind = NetworkKind.Switch, Name = "lan" }, new MacAddress(2), network);

    /// <summary>A network that brings what a test says.</summary>
    private sealed class BroughtNetwork() : PolledNetwork("test-net-brought")
    {
        private readonly ConcurrentQueue<byte[]> _brought = new();

        public override NetworkOffloads Offloads => NetworkOffloads.All;

        internal void Bring(byte[] frame)
        {
            _brought.Enqueue(frame);
            Wake();
        }

        protected override void Forward(in FrameOffload offload, Span<byte> frame)
        {
        }

        protected override void Close()
        {
        }

        protected override int Prepare(PollList list) => -1;

        protected override void Work(PollList list)
        {
            while (_brought.TryDequeue(out byte[]? frame))
                Deliver(default, frame);
        }
    }

    private sealed class Guest : INetworkAdapter
    {
        private readonly BlockingCollection<byte[]> _incoming = [];

        internal bool IsEmpty => _incoming.Count == 0;

        public bool Transmit() => false;

        public bool Receive(in FrameOffload offload, ReadOnlySpan<byte> frame, ref int segment)
        {
            _incoming.Add(frame.ToArray());
            return true;
        }

        public void Fail(Exception error) => Assert.Fail(error.ToString());

        internal byte[] Take() => _incoming.TryTake(out byte[]? frame, Patience) ? frame : throw new TimeoutException("no frame came");
    }
}
