using Doppel.Devices.Storage.Images;
using Doppel.Devices.Storage.Qcow2;

namespace Doppel.Devices.Tests.Storage;

public sealed class Qcow2SnapshotTests : IDisposable
{
    private static readonly DiskOpenOptions Qcow2 = new() { Format = DiskFormat.Qcow2 };
    private readonly StorageDirectory _directory = new(isInMemory: true);

    public void Dispose() => _directory.Dispose();

    [Theory]
    [InlineData(3, 65536, 16)]
    [InlineData(2, 4096, 16)]
    [InlineData(3, 512, 4)]
    public void Snapshots_keep_the_disk_through_whatever_follows(int version, int clusterSize, int refcountBits)
    {
        int seed = Random.Shared.Next();
        var random = new Random(seed);
        string path = _directory["disk.qcow2"];
        const ulong length = 3 << 20;
        Qcow2Image.Create(path, new Qcow2Options { Length = length, Version = version, ClusterSize = clusterSize, RefcountBits = refcountBits });
        var operations = new RandomOperations(seed, length);
        var kept = new Dictionary<string, byte[]>();
        for (int round = 0; round < 12; round++)
        {
            using (var image = (Qcow2Image)DiskImages.Open(path, Qcow2))
            {
                operations.Run(image, 40);
                string name = $"s{round}";
                if (round < 5 || random.Next(2) == 0)
                {
                    Assert.Equal(name, image.CreateSnapshot(name, DateTimeOffset.UnixEpoch.AddSeconds(round)).Name);
                    kept[name] = (byte[])operations.Expected.Clone();
                }

                operations.Run(image, 20);
                if (round > 2 && kept.Count > 0)
                {
                    string some = kept.Keys.ElementAt(random.Next(kept.Count));
                    if (random.Next(2) == 0)
                    {
                        image.DeleteSnapshot(some);
                        _ = kept.Remove(some);
                    }
                    else
                    {
                        image.ApplySnapshot(some);
                        kept[some].CopyTo(operations.Expected, 0);
                    }
                }

                operations.Compare(image, $"in round {round}");
                operations.Run(image, 20);
            }

            Qcow2Check.IsClean(path, seed);
        }

        foreach ((string name, byte[] expected) in kept)
        {
            using var image = (Qcow2Image)DiskImages.Open(path, Qcow2 with { IsReadOnly = true });
            image.ShowSnapshot(name);
            byte[] actual = new byte[length];
            image.Read(0, actual);
            Assert.True(expected.AsSpan().SequenceEqual(actual), $"seed {seed}: snapshot {name}");
            string raw = _directory["raw"];
            _ = QemuImg.Run("convert", "-f", "qcow2", "-l", $"snapshot.name={name}", "-O", "raw", path, raw);
            Assert.True(expected.AsSpan().SequenceEqual(File.ReadAllBytes(raw)), $"seed {seed}: snapshot {name} as QEMU reads it");
        }
    }

    [Fact]
    public void QEMUs_snapshots_are_listed_applied_and_deleted_and_QEMU_does_so_with_ours()
    {
        string path = _directory["disk.qcow2"];
        _ = QemuImg.Run("create", "-f", "qcow2", path, "1M");
        Assert.Equal(0, QemuImg.Try("qemu-io", "-c", "write -P 1 0 512k", path).Code);
        _ = QemuImg.Run("snapshot", "-c", "one", path);
        Assert.Equal(0, QemuImg.Try("qemu-io", "-c", "write -P 2 100k 512k", path).Code);
        using (var image = (Qcow2Image)DiskImages.Open(path, Qcow2))
        {
            Qcow2Snapshot snapshot = Assert.Single(image.Snapshots);
            Assert.Equal(("one", "1", 1ul << 20), (snapshot.Name, snapshot.Id, snapshot.Length));
            _ = image.CreateSnapshot("two", DateTimeOffset.UtcNow);
            image.Write(0, new byte[] { 3, 3, 3 });
            image.ApplySnapshot("one");
            byte[] bytes = new byte[2];
            image.Read(200 << 10, bytes);
            Assert.Equal(new byte[] { 1, 1 }, bytes);
            image.DeleteSnapshot("1");
        }

        Qcow2Check.IsClean(path, 0);
        _ = QemuImg.Run("snapshot", "-a", "two", path);
        using (DiskImage image = DiskImages.Open(path, Qcow2))
        {
            byte[] bytes = new byte[2];
            image.Read(200 << 10, bytes);
            Assert.Equal(new byte[] { 2, 2 }, bytes);
        }

        _ = QemuImg.Run("snapshot", "-d", "two", path);
        Qcow2Check.IsClean(path, 0);
    }

    [Fact]
    public void What_there_is_is_named_when_a_snapshot_is_missing_or_there_already()
    {
        string path = _directory["disk.qcow2"];
        Qcow2Image.Create(path, new Qcow2Options { Length = 1 << 20 });
        using var image = (Qcow2Image)DiskImages.Open(path, Qcow2);
        Assert.Contains("has none", Assert.Throws<DiskImageException>(() => image.DeleteSnapshot("a")).Message, StringComparison.Ordinal);
        _ = image.CreateSnapshot("clean", DateTimeOffset.UtcNow);
        Assert.Contains("clean", Assert.Throws<DiskImageException>(() => image.ApplySnapshot("a")).Message, StringComparison.Ordinal);
        Assert.Contains("already", Assert.Throws<DiskImageException>(() => image.CreateSnapshot("clean", DateTimeOffset.UtcNow)).Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(3, 4096)]
    [InlineData(3, 512)]
    [InlineData(2, 512)]
    public void A_resized_image_keeps_what_both_sizes_have_and_shows_nothing_old(int version, int clusterSize)
    {
        int seed = Random.Shared.Next();
        var random = new Random(seed);
        string path = _directory["disk.qcow2"];
        File.WriteAllBytes(_directory["base"], [.. Enumerable.Repeat((byte)9, 6 << 20)]);
        Qcow2Image.Create(path, new Qcow2Options { Length = 1 << 20, Version = version, ClusterSize = clusterSize, BackingName = "base", BackingFormat = "raw" });
        var operations = new RandomOperations(seed, 1 << 20);
        operations.Expected.AsSpan().Fill(9);
        for (int round = 0; round < 6; round++)
        {
            using (DiskImage image = DiskImages.Open(path, Qcow2))
            {
                operations.Run(image, 50);
                operations.Resize(image, (ulong)random.Next(100, 10_000) * 512);
                operations.Compare(image, $"after resizing {round}");
                operations.Run(image, 50);
            }

            Qcow2Check.IsClean(path, seed);
            Assert.True(operations.Expected.AsSpan().SequenceEqual(QemuImg.ReadAll(path, "qcow2", _directory)), $"seed {seed}: QEMU reads something else in round {round}");
        }
    }

    [Fact]
    public void Damage_is_found_marked_and_ends_writing()
    {
        string path = _directory["disk.qcow2"];
        Qcow2Image.Create(path, new Qcow2Options { Length = 1 << 20 });
        using (DiskImage image = DiskImages.Open(path, Qcow2))
            image.Write(0, new byte[] { 1 });
        using (ImageFile file = ImageFile.Open(path, isReadOnly: false))
        {
            Qcow2Header header = Qcow2Header.Read(file);
            ulong l2 = new Qcow2Metadata(file, header).L1[0] & Qcow2Features.OffsetMask;
            file.Write(l2, new byte[] { 0x80, 0, 0, 0, 0, 3, 0x12, 0 });
        }

        Assert.NotEqual(0, Qcow2Check.Run(path).ErrorCount);
        using (DiskImage image = DiskImages.Open(path, Qcow2))
        {
            Assert.Contains(path, Assert.Throws<IOException>(() => image.Write(0, new byte[] { 1 })).Message, StringComparison.Ordinal);
            Assert.Contains("damaged", Assert.Throws<IOException>(() => image.Write(700_000, new byte[] { 1 })).Message, StringComparison.Ordinal);
        }

        Assert.Contains("damaged", Assert.Throws<DiskImageException>(() => DiskImages.Open(path, Qcow2)).Message, StringComparison.Ordinal);
        DiskImages.Open(path, Qcow2 with { IsReadOnly = true }).Dispose();
        Assert.True(Qcow2Check.Run(path).IsMarkedCorrupt);
    }

    [Fact]
    public void Leaks_and_wrong_counts_are_repaired()
    {
        string path = _directory["disk.qcow2"];
        Qcow2Image.Create(path, new Qcow2Options { Length = 1 << 20 });
        byte[] data = [.. Enumerable.Range(0, 300_000).Select(i => (byte)(i * 7))];
        using (DiskImage image = DiskImages.Open(path, Qcow2))
            image.Write(0, data);
        using (ImageFile file = ImageFile.Open(path, isReadOnly: false))
        {
            Qcow2Header header = Qcow2Header.Read(file);
            file.Write(new Qcow2Metadata(file, header).Refcounts.Table[0] + 12, new byte[] { 0, 0, 0, 3 });
            Assert.Equal((true, 1L), (Found(file).ErrorCount >= 1, Found(file).Leaks));
            Qcow2CheckResult after = Qcow2Maintenance.Repair(file, header);
            Assert.Equal((0L, 0L), (after.ErrorCount, after.Leaks));
        }

        Qcow2Check.IsClean(path, 0);
        Assert.Equal(data, QemuImg.ReadAll(path, "qcow2", _directory)[..data.Length]);

        static Qcow2CheckResult Found(ImageFile file) => new Qcow2Checker(file, Qcow2Header.Read(file)).Run();
    }
}
