using System.Diagnostics;
using Doppel.Devices.Network;
using Doppel.Devices.Storage.Images;
using Doppel.Devices.Tests.Network;

namespace Doppel.Devices.Tests;

/// <summary>Limits of disks and network cards.</summary>
public sealed class RateLimitTests
{
    private static readonly TimeSpan Patience = TimeSpan.FromMinutes(1);

    [Fact]
    public void What_is_taken_is_paid_for_by_time_and_little_is_saved_up()
    {
        long now = 0;
        var limit = new RateLimit(1000, () => now);
        void Pass(double seconds) => now += (long)(seconds * Stopwatch.Frequency);
        Assert.Equal(TimeSpan.FromSeconds(0.5), limit.Take(500));
        Assert.Equal(TimeSpan.FromSeconds(1.5), limit.Take(1000));
        Pass(1);
        Assert.Equal(TimeSpan.FromSeconds(0.5), limit.Owed);
        Pass(0.5);
        Assert.Equal(TimeSpan.Zero, limit.Owed);
        // An hour saves up a twentieth of a second.
        Pass(3600);
        Assert.Equal(TimeSpan.Zero, limit.Take(50));
        Assert.Equal(TimeSpan.FromSeconds(0.1), limit.Take(100));
        limit.PerSecond = 0;
        Assert.Equal(TimeSpan.Zero, limit.Take(1_000_000));
        limit.PerSecond = 10;
        Assert.Equal(TimeSpan.FromSeconds(0.1), limit.Take(1));
        // Over any time, what is granted is what the limit says.
        int seed = Environment.TickCount;
        var random = new Random(seed);
        limit.PerSecond = 4096;
        double taken = 0, begin = now;
        for (int i = 0; i < 10_000; i++)
        {
            int units = random.Next(1, 5000);
            TimeSpan wait = limit.Take(units);
            taken += units;
            now += (long)Math.Ceiling(wait.TotalSeconds * Stopwatch.Frequency) + random.Next(1000);
        }

        double rate = taken / ((now - begin) / Stopwatch.Frequency);
        Assert.True(rate is > 4096 * 0.95 and < 4096 * 1.01, $"seed {seed}: {rate}");
    }

    [Fact]
    public async Task A_disk_waits_for_its_limits_and_hurries_when_it_is_asked_to()
    {
        string path = Path.GetTempFileName();
        try
        {
            File.WriteAllBytes(path, new byte[64 << 20]);
            await using var disk = new ImageBackend(DiskImages.Open(path, new DiskOpenOptions { Format = DiskFormat.Raw }));
            byte[] bytes = new byte[16 << 20];
            Random.Shared.NextBytes(bytes);
            // Minutes' worth each.
            disk.Limit(65536, 0);
            Task write = disk.WriteAsync(0, [bytes]).AsTask(), zeros = disk.WriteZeroesAsync(32 << 20, 1 << 20, mayFree: true).AsTask();
            Assert.False(write.IsCompleted);
            Assert.False(zeros.IsCompleted);
            Assert.Equal(0, File.ReadAllBytes(path).AsSpan(0, 4096).IndexOfAnyExcept((byte)0) + 1);
            // A flush has nothing to wait for.
            await disk.FlushAsync().AsTask().WaitAsync(Patience);
            disk.Hurry();
            await write.WaitAsync(Patience);
            await zeros.WaitAsync(Patience);
            byte[] read = new byte[bytes.Length];
            Task reading = disk.ReadAsync(0, [read]).AsTask();
            Assert.False(reading.IsCompleted);
            // Another limit forgets what is owed.
            disk.Limit(0, 0);
            await reading.WaitAsync(Patience);
            Assert.Equal(bytes, read);
            using var cancel = new CancellationTokenSource();
            disk.Limit(0, 10);
            Task[] many = [.. Enumerable.Range(0, 1000).Select(i => disk.ReadAsync(0, [new byte[512]], cancel.Token).AsTask())];
            Assert.Contains(many, one => !one.IsCompleted);
            await cancel.CancelAsync();
            await Assert.ThrowsAnyAsync<OperationCanceledException>(() => Task.WhenAll(many).WaitAsync(Patience));
            Task last = disk.ReadAsync(0, [new byte[512]]).AsTask();
            // What waits is done before the image is closed.
            await disk.DisposeAsync().AsTask().WaitAsync(Patience);
            await last;
        }
        finally
        {
            File.Delete(path);
        }
    }

    [Fact]
    public async Task A_network_waits_either_way_and_goes_on_when_the_limit_is_lifted()
    {
        const int Frames = 200, Length = 60_000;
        using var network = new LoopNetwork();
        var card = new Card(network, Frames, Length);
        // Each frame is worth a second.
        network.Limit(60_000);
        network.Attach(card);
        await card.First.Task.WaitAsync(Patience);
        Assert.InRange(card.Sent, 1, Frames / 2);
        Assert.InRange(card.Received, 1, Frames / 2);
        network.Limit(0);
        await card.All.Task.WaitAsync(Patience);
        Assert.Equal(Frames, card.Sent);
        network.Detach();
    }

    private sealed class Card(INetworkBackend network, int frames, int length) : INetworkAdapter
    {
        internal TaskCompletionSource First { get; } = new(TaskCreationOptions.RunContinuationsAsynchronously);

        internal TaskCompletionSource All { get; } = new(TaskCreationOptions.RunContinuationsAsynchronously);

        internal int Sent { get; private set; }

        internal int Received { get; private set; }

        public bool Transmit()
        {
            for (int i = 0; i < network.MostFrames && Sent < frames; i++, Sent++)
                network.Send(default, new byte[length]);
            return Sent < frames;
        }

        public bool Receive(in FrameOffload offload, ReadOnlySpan<byte> frame, ref int segment)
        {
            Received++;
            _ = First.TrySetResult();
            if (Sent == frames)
                _ = All.TrySetResult();
            return true;
        }

        public void Fail(Exception error) => All.SetException(error);
    }
}
