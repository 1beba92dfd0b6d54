using Doppel.Devices.Storage;
using Doppel.Devices.Storage.Images;
using Doppel.Devices.Storage.Qcow2;

namespace Doppel.Devices.Tests.Storage;

public sealed class Qcow2ConcurrencyTests : IDisposable
{
    private const int Sector = 512;
    private const int Sectors = 8192;
    private static readonly DiskOpenOptions Qcow2 = new() { Format = DiskFormat.Qcow2 };
    private readonly StorageDirectory _directory = new(isInMemory: true);

    public void Dispose() => _directory.Dispose();

    [Theory]
    [InlineData(3, 65536, true)]
    [InlineData(3, 4096, false)]
    [InlineData(2, 512, true)]
    public void Many_threads_write_to_the_same_clusters(int version, int clusterSize, bool hasBacking)
    {
        const int threads = 6;
        int seed = Random.Shared.Next();
        byte[] expected = new byte[Sectors * Sector];
        if (hasBacking)
        {
            expected.AsSpan().Fill(200);
            File.WriteAllBytes(_directory["base"], expected);
        }

        string path = _directory["disk.qcow2"];
        Qcow2Image.Create(path, new Qcow2Options { Length = Sectors * Sector, Version = version, ClusterSize = clusterSize, BackingName = hasBacking ? "base" : null, BackingFormat = hasBacking ? "raw" : null });
        using (DiskImage image = DiskImages.Open(path, Qcow2))
        {
            Parallel.For(0, threads, new ParallelOptions { MaxDegreeOfParallelism = threads }, thread =>
            {
                var random = new Random(seed + thread);
                for (int i = 0; i < 1500; i++)
                {
                    // Each thread has its own sectors, which lie between those of the others.
                    int sector = (random.Next(Sectors / threads) * threads) + thread;
                    Span<byte> mine = expected.AsSpan(sector * Sector, Sector);
                    byte[] read = new byte[Sector];
                    switch (random.Next(24))
                    {
                        case 0:
                            image.Flush();
                            break;
                        case 1:
                            mine.Clear();
                            image.WriteZeroes((ulong)(sector * Sector), Sector, mayFree: true);
                            break;
                        case < 5:
                            if (!image.TryReadNow((ulong)(sector * Sector), new BufferList(read)))
                                image.Read((ulong)(sector * Sector), read);
                            Assert.True(mine.SequenceEqual(read), $"seed {seed}, thread {thread}, operation {i}: sector {sector}");
                            break;
                        default:
                            random.NextBytes(mine);
                            image.Write((ulong)(sector * Sector), mine.ToArray());
                            break;
                    }
                }
            });
            byte[] actual = new byte[expected.Length];
            image.Read(0, actual);
            Assert.True(expected.AsSpan().SequenceEqual(actual), $"seed {seed}");
        }

        Qcow2Check.IsClean(path, seed);
        Assert.True(expected.AsSpan().SequenceEqual(QemuImg.ReadAll(path, "qcow2", _directory)), $"seed {seed}: QEMU reads something else");
    }

    [Fact]
    public void Clusters_that_are_discarded_and_taken_anew_show_no_other_clusters_bytes()
    {
        const int threads = 4, cluster = 4096, clusters = 256;
        int seed = Random.Shared.Next();
        string path = _directory["disk.qcow2"];
        Qcow2Image.Create(path, new Qcow2Options { Length = clusters * cluster, ClusterSize = cluster });
        using (DiskImage image = DiskImages.Open(path, Qcow2))
        {
            Parallel.For(0, threads, new ParallelOptions { MaxDegreeOfParallelism = threads }, thread =>
            {
                var random = new Random(seed + thread);
                byte[] read = new byte[cluster];
                for (int i = 0; i < 2000; i++)
                {
                    int mine = (random.Next(clusters / threads) * threads) + thread;
                    ulong offset = (ulong)(mine * cluster);
                    if (random.Next(3) == 0)
                        image.Discard(offset, cluster);
                    else if (Enumerable.Repeat((byte)(mine | 1), cluster).ToArray() is var bytes && !image.TryWriteNow(offset, BufferList.ForWriting(bytes)))
                        image.Write(offset, bytes);
                    if (random.Next(20) == 0)
                        image.Flush();
                    int other = random.Next(clusters);
                    image.Read((ulong)(other * cluster), read);
                    Assert.True(read.All(b => b == 0 || b == (byte)(other | 1)), $"seed {seed}, thread {thread}, operation {i}: cluster {other}");
                }
            });
        }

        Qcow2Check.IsClean(path, seed);
    }

    [Theory]
    [InlineData(3, 65536)]
    [InlineData(3, 512)]
    [InlineData(2, 4096)]
    public void On_a_full_host_operations_fail_and_can_be_tried_again(int version, int clusterSize)
    {
        int seed = Random.Shared.Next();
        string path = _directory["disk.qcow2"];
        File.WriteAllBytes(_directory["base"], StampedDisk.Stamp(1, StampedDisk.Sectors));
        Qcow2Image.Create(path, new Qcow2Options { Length = StampedDisk.Sectors * StampedDisk.SectorSize, Version = version, ClusterSize = clusterSize, BackingName = "base", BackingFormat = "raw" });
        var disk = new StampedDisk(seed);
        var host = new FullHost(new Random(seed));
        int failures = 0;
        using (var image = (Qcow2Image)DiskImages.Open(path, Qcow2))
        {
            disk.Adopt(image, 2);
            image.File.Observer = host;
            for (int n = 2; n < 600; n++)
            {
                while (true)
                {
                    try
                    {
                        _ = StampedDisk.Apply(image, StampedDisk.Operation(seed, n), n);
                        host.Succeeded();
                        break;
                    }
                    catch (StorageFullException)
                    {
                        failures++;
                    }
                }
            }

            disk.FlushedUpTo(600);
            disk.Verify(image, 600, $"seed {seed}");
            host.IsRoomy = true;
            image.Flush();
        }

        Assert.True(failures > 10, $"seed {seed}: {failures} failures");
        (int code, string said) = QemuImg.Try("qemu-img", "check", "-f", "qcow2", path);
        Assert.True(code is 0 or 3, $"seed {seed}: {said}");
        using DiskImage again = DiskImages.Open(path, Qcow2);
        disk.Verify(again, 600, $"seed {seed}, opened again");
    }

    /// <summary>
    /// A host that has no room for now and then a write. Each failure leaves twice the room for the next try, so that every
    /// operation succeeds in the end, however many writes it takes.
    /// </summary>
    private sealed class FullHost(Random random) : IImageFileObserver
    {
        private const int LeastRoom = 30;
        private int _most = LeastRoom;
        private int _room;

        internal bool IsRoomy { get; set; }

        public void Writing(ulong offset, BufferList buffers)
        {
            if (IsRoomy || _room-- > 0)
                return;
            _room = random.Next(0, _most);
            _most *= 2;
            throw new StorageFullException("full");
        }

        internal void Succeeded() => _most = LeastRoom;

        public void Punching(ulong offset, ulong length)
        {
        }

        public void Synced()
        {
        }
    }
}
