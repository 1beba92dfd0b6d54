using Doppel.Devices.Storage.Images;
using Doppel.Host.Compression;
using Doppel.Machine.Memory;
using Doppel.Vmm.Migration;

namespace Doppel.Vmm.Tests.Migration;

/// <summary>The parts of a transfer, one by one.</summary>
public sealed class TransferTests
{
    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Pages_arrive_as_they_were(bool compresses)
    {
        if (compresses && !Zstandard.IsAvailable)
            return;
        using var memory = new GuestMemory(1 << 20);
        byte[] content = new byte[2 * GuestMemory.PageSize], target = new byte[PageBatch.LongestBatch], scratch = new byte[PageBatch.MostPages * GuestMemory.PageSize];
        new Random(1).NextBytes(content.AsSpan(0, 3000));
        Assert.True(memory.TryWrite(5 * GuestMemory.PageSize, [1, 2, 3]));
        int length = PageBatch.Write([3, 5, 9, 200], [false, true, true, false], content, compresses, target);
        Assert.Equal(compresses, length < content.Length);
        PageBatch.Read(target.AsSpan(0, length), memory, scratch);
        Assert.Equal(content[..GuestMemory.PageSize], memory.GetPage(3 * GuestMemory.PageSize).ToArray());
        Assert.Equal(content[GuestMemory.PageSize..], memory.GetPage(200 * GuestMemory.PageSize).ToArray());
        Assert.False(memory.GetPage(5 * GuestMemory.PageSize).ContainsAnyExcept((byte)0));
        // What was never there takes no host memory for being zero.
        Assert.Equal((ulong)GuestMemory.PageSize, memory.UnusedFrom(9 * GuestMemory.PageSize, GuestMemory.PageSize));
    }

    [Fact]
    public void What_is_no_batch_is_refused_and_no_byte_lands_outside_of_memory()
    {
        int seed = Environment.TickCount;
        var random = new Random(seed);
        using var memory = new GuestMemory(1 << 20);
        byte[] target = new byte[PageBatch.LongestBatch], scratch = new byte[PageBatch.MostPages * GuestMemory.PageSize];
        byte[] content = new byte[GuestMemory.PageSize];
        foreach (ulong page in new ulong[] { 256, 0xC0000, 0x7FFF_FFFF })
        {
            int length = PageBatch.Write([page], [false], content, compresses: false, target);
            Assert.Throws<IOException>(() => PageBatch.Read(target.AsSpan(0, length), memory, scratch));
        }

        int whole = PageBatch.Write([1, 2], [false, true], content, compresses: Zstandard.IsAvailable, target);
        for (int i = 0; i < 2000; i++)
        {
            byte[] damaged = target[..random.Next(whole + 1)];
            for (int flips = random.Next(1, 4); flips > 0 && damaged.Length != 0; flips--)
                damaged[random.Next(damaged.Length)] ^= (byte)(1 << random.Next(8));
            try
            {
                PageBatch.Read(damaged, memory, scratch);
            }
            catch (IOException)
            {
                // Any damage that is found is said so.
            }
            catch (Exception e)
            {
                Assert.Fail($"seed {seed}: {Convert.ToHexString(damaged)}: {e}");
            }
        }
    }

    [Fact]
    public void Changed_blocks_are_taken_once()
    {
        var blocks = new DirtyBlocks((3 * DirtyBlocks.BlockSize) + 100);
        Assert.Empty(blocks.Take());
        blocks.Add(DirtyBlocks.BlockSize - 1, 2);
        blocks.Add(3 * DirtyBlocks.BlockSize, 100);
        blocks.Add(5, 0);
        Assert.Equal(3UL * DirtyBlocks.BlockSize, blocks.Bytes);
        Assert.Equal([(0UL, 2UL * DirtyBlocks.BlockSize), (3UL * DirtyBlocks.BlockSize, 100UL)], blocks.Take());
        Assert.Empty(blocks.Take());
    }

    [Fact]
    public async Task A_changed_disk_says_what_was_changed()
    {
        string path = Path.GetTempFileName();
        File.Delete(path);
        DiskImages.Create(path, new DiskCreateOptions { Format = DiskFormat.Qcow2, Length = 1 << 20 });
        await using (var backend = new ImageBackend(DiskImages.Open(path, new DiskOpenOptions())))
        {
            var dirty = new DirtyBlocks(backend.Length);
            backend.Tracked = dirty;
            await backend.WriteAsync(0, [new byte[512]]);
            await backend.ReadAsync(1 << 19, [new byte[512]]);
            Assert.Equal([(0UL, (ulong)DirtyBlocks.BlockSize)], dirty.Take());
            await backend.WriteZeroesAsync(3 * DirtyBlocks.BlockSize, DirtyBlocks.BlockSize, mayFree: true);
            await backend.DiscardAsync(5 * DirtyBlocks.BlockSize, DirtyBlocks.BlockSize);
            Assert.Equal(2, dirty.Take().Count);
            backend.Tracked = null;
            await backend.WriteAsync(0, [new byte[512]]);
            Assert.Empty(dirty.Take());
            // Another image of the same disk takes its place; one of another disk is refused.
            DiskImage before = backend.Exchange(new AbsentImage("elsewhere", DiskFormat.Qcow2, backend.Length, false, 4096, 0));
            await Assert.ThrowsAsync<IOException>(async () => await backend.ReadAsync(0, [new byte[512]]));
            Assert.Throws<DiskImageException>(() => backend.Exchange(new AbsentImage("another", DiskFormat.Qcow2, 512, false, 4096, 0)));
            backend.Exchange(before).Dispose();
            await backend.ReadAsync(0, [new byte[512]]);
        }

        File.Delete(path);
    }

    [Fact]
    public void Rates_and_what_follows_from_them()
    {
        var estimate = new DirtyRateEstimate();
        Assert.Null(estimate.SecondsUntil(100, TimeSpan.FromSeconds(1)));
        estimate.Add(100 << 20, 10 << 20, 1);
        Assert.Equal(100 << 20, estimate.Throughput, 1.0);
        Assert.Equal(10 << 20, estimate.DirtyRate, 1.0);
        Assert.Equal(0.05, estimate.TimeFor(5 << 20).TotalSeconds, 1e-6);
        Assert.Equal(0.05, estimate.SecondsUntil(5 << 20, TimeSpan.FromSeconds(1))!.Value, 1e-6);
        // 1 + 1/10 + 1/100 ...
        Assert.Equal(10 / 0.9, estimate.SecondsUntil(1000 << 20, TimeSpan.FromMilliseconds(1))!.Value, 1e-6);
        for (int i = 0; i < 20; i++)
            estimate.Add(100 << 20, 200 << 20, 1);
        Assert.Null(estimate.SecondsUntil(1000 << 20, TimeSpan.FromMilliseconds(1)));
    }

    [Fact]
    public void The_throttle_goes_up_only_while_rounds_do_not_help_and_ends_in_a_stop()
    {
        var estimate = new DirtyRateEstimate();
        estimate.Add(100 << 20, 100 << 20, 1);
        var convergence = new Convergence(TimeSpan.FromMilliseconds(60));
        Assert.True(convergence.IsEnough(estimate, 1 << 20));
        int throttle = 0;
        for (ulong left = 100 << 20; left > 10 << 20; left /= 2)
        {
            Assert.False(convergence.IsEnough(estimate, left));
            throttle = convergence.NextThrottle(throttle);
            Assert.Equal(0, throttle);
        }

        var steps = new List<int>();
        int rounds = 0;
        for (; !convergence.IsEnough(estimate, 50 << 20); rounds++)
        {
            throttle = convergence.NextThrottle(throttle);
            if (steps.Count == 0 || steps[^1] != throttle)
                steps.Add(throttle);
            Assert.True(rounds < 100);
        }

        Assert.Equal([0, 20, 35, 50, 65, 80, 95], steps);
    }

    [Fact]
    public void Compression_is_chosen_by_what_is_sooner_there()
    {
        var choice = new CompressionChoice(MigrationCompression.Auto, isPossible: true);
        Learn(sendNanoseconds: 100, compressNanoseconds: 2);
        Assert.True(Share() > 0.9);
        Learn(sendNanoseconds: 0.1, compressNanoseconds: 2);
        Assert.InRange(Share(), 0.001, 0.1);
        Assert.False(new CompressionChoice(MigrationCompression.Auto, isPossible: false).Decide());
        Assert.False(new CompressionChoice(MigrationCompression.None, isPossible: true).Decide());
        Assert.True(new CompressionChoice(MigrationCompression.Zstandard, isPossible: true).Decide());

        void Learn(double sendNanoseconds, double compressNanoseconds)
        {
            for (int i = 0; i < 100; i++)
            {
                choice.Compressed(1_000_000, 400_000, (long)(compressNanoseconds * 1e-3 * System.Diagnostics.Stopwatch.Frequency));
                choice.Sent(1_000_000, (long)(sendNanoseconds * 1e-3 * System.Diagnostics.Stopwatch.Frequency));
            }
        }

        double Share() => Enumerable.Range(0, 640).Count(_ => choice.Decide()) / 640.0;
    }
}
