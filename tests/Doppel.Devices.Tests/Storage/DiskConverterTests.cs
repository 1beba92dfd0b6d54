using Doppel.Devices.Storage.Images;
using Doppel.Devices.Storage.Qcow2;

namespace Doppel.Devices.Tests.Storage;

public sealed class DiskConverterTests : IDisposable
{
    private static readonly DiskOpenOptions Any = new();
    private readonly StorageDirectory _directory = new();

    public void Dispose() => _directory.Dispose();

    [Theory]
    [InlineData(65536, Qcow2Compression.Deflate, 16)]
    [InlineData(4096, Qcow2Compression.Deflate, 1)]
    [InlineData(65536, Qcow2Compression.Zstandard, 16)]
    [InlineData(2 << 20, Qcow2Compression.Zstandard, 16)]
    public void A_compressed_copy_is_what_QEMU_reads_and_can_be_written(int clusterSize, Qcow2Compression compression, int refcountBits)
    {
        int seed = Random.Shared.Next();
        RandomOperations operations = MakeDisk(seed, (5 << 20) + 512);
        string path = _directory["disk.qcow2"];
        Qcow2Image.Create(path, new Qcow2Options { Length = (ulong)operations.Expected.Length, ClusterSize = clusterSize, Compression = compression, RefcountBits = refcountBits });
        using (DiskImage source = DiskImages.Open(_directory["raw"], Any))
        using (var target = (Qcow2Image)DiskImages.Open(path, Any))
            DiskConverter.CopyCompressed(source, target, null, CancellationToken.None);
        Qcow2Check.IsClean(path, seed);
        Assert.True(Qcow2Check.Run(path).CompressedClusters > 0);
        Assert.True(operations.Expected.AsSpan().SequenceEqual(QemuImg.ReadAll(path, "qcow2", _directory)), $"seed {seed}");
        using (DiskImage image = DiskImages.Open(path, Any))
        {
            operations.Compare(image, "compressed");
            operations.Run(image, 100);
            operations.Compare(image, "written");
        }

        Qcow2Check.IsClean(path, seed);
    }

    [Fact]
    public void Zeros_take_no_space_in_a_copy()
    {
        byte[] bytes = new byte[4 << 20];
        bytes[1_000_000] = 1;
        File.WriteAllBytes(_directory["raw"], bytes);
        Qcow2Image.Create(_directory["disk.qcow2"], new Qcow2Options { Length = 4 << 20 });
        ulong told = 0;
        using (DiskImage source = DiskImages.Open(_directory["raw"], Any))
        using (DiskImage target = DiskImages.Open(_directory["disk.qcow2"], Any))
        {
            DiskConverter.Copy(source, target, p => told = p, CancellationToken.None);
            byte[] copied = new byte[4 << 20];
            target.Read(0, copied);
            Assert.Equal(bytes, copied);
        }

        Assert.Equal(4ul << 20, told);
        Assert.Equal(1, Qcow2Check.Run(_directory["disk.qcow2"]).AllocatedClusters);
    }

    [Fact]
    public void An_overlay_is_committed_and_then_has_nothing_of_its_own()
    {
        int seed = Random.Shared.Next();
        RandomOperations operations = MakeDisk(seed, 2 << 20);
        string path = _directory["overlay.qcow2"];
        Qcow2Image.Create(path, new Qcow2Options { Length = 2 << 20, BackingName = "raw", BackingFormat = "raw" });
        using (DiskImage overlay = DiskImages.Open(path, Any))
        {
            operations.Run(overlay, 100);
            operations.Resize(overlay, 3 << 20);
            operations.Run(overlay, 50);
        }

        using (var overlay = (Qcow2Image)DiskImages.Open(path, Any with { IsWithoutBacking = true }))
        using (DiskImage backing = DiskImages.Open(_directory["raw"], new DiskOpenOptions { Format = DiskFormat.Raw }))
        {
            DiskConverter.Commit(overlay, backing, null, CancellationToken.None);
            overlay.MakeEmpty();
        }

        Qcow2Check.IsClean(path, seed);
        Assert.Equal(0, Qcow2Check.Run(path).AllocatedClusters);
        Assert.True(operations.Expected.AsSpan().SequenceEqual(File.ReadAllBytes(_directory["raw"])), $"seed {seed}");
        Assert.True(operations.Expected.AsSpan().SequenceEqual(QemuImg.ReadAll(path, "qcow2", _directory)), $"seed {seed}");
    }

    [Fact]
    public void An_overlay_reads_the_same_over_another_image_and_over_none()
    {
        int seed = Random.Shared.Next();
        RandomOperations operations = MakeDisk(seed, 2 << 20);
        string path = _directory["overlay.qcow2"];
        byte[] other = (byte[])operations.Expected.Clone();
        other.AsSpan(100_000, 300_000).Fill(3);
        File.WriteAllBytes(_directory["other"], other[..1_500_160]);
        Qcow2Image.Create(path, new Qcow2Options { Length = 2 << 20, BackingName = "raw", BackingFormat = "raw" });
        using (DiskImage overlay = DiskImages.Open(path, Any))
            operations.Run(overlay, 30);
        foreach (string? next in (string?[])["other", null])
        {
            using (var overlay = (Qcow2Image)DiskImages.Open(path, Any))
            using (DiskImage? backing = next is null ? null : DiskImages.Open(_directory[next], new DiskOpenOptions { IsReadOnly = true }))
            {
                DiskConverter.PrepareRebase(overlay, backing, null, CancellationToken.None);
                overlay.ChangeBacking(next, next is null ? null : DiskFormat.Raw);
            }

            Qcow2Check.IsClean(path, seed);
            Assert.True(operations.Expected.AsSpan().SequenceEqual(QemuImg.ReadAll(path, "qcow2", _directory)), $"seed {seed}, over {next}");
        }
    }

    [Fact]
    public void An_ephemeral_overlay_leaves_nothing()
    {
        int seed = Random.Shared.Next();
        RandomOperations operations = MakeDisk(seed, 1 << 20);
        byte[] before = File.ReadAllBytes(_directory["raw"]);
        string directory = Path.GetDirectoryName(_directory["raw"])!;
        using (DiskImage image = Qcow2Image.CreateEphemeral(directory, DiskImages.Open(_directory["raw"], new DiskOpenOptions { IsReadOnly = true })))
        {
            operations.Run(image, 200);
            operations.Compare(image, "at the end");
        }

        Assert.Equal(before, File.ReadAllBytes(_directory["raw"]));
        _ = Assert.Single(Directory.GetFiles(directory));
    }

    [Fact]
    public void An_overlay_is_made_when_it_is_first_used_and_belongs_to_its_image()
    {
        RandomOperations operations = MakeDisk(Random.Shared.Next(), 1 << 20);
        byte[] before = File.ReadAllBytes(_directory["raw"]);
        using (DiskImage one = Overlays.Open(_directory["one.qcow2"], _directory["raw"], DiskFormat.Raw))
        using (DiskImage two = Overlays.Open(_directory["two.qcow2"], _directory["raw"], DiskFormat.Raw))
        {
            operations.Compare(two, "over the same image");
            operations.Run(one, 50);
        }

        using (DiskImage one = Overlays.Open(_directory["one.qcow2"], _directory["raw"], DiskFormat.Raw))
            operations.Compare(one, "opened again");
        Assert.Equal(before, File.ReadAllBytes(_directory["raw"]));
        File.WriteAllBytes(_directory["other"], before);
        Assert.Contains("not " + _directory["other"], Assert.Throws<DiskImageException>(() => Overlays.Open(_directory["one.qcow2"], _directory["other"], null)).Message, StringComparison.Ordinal);
    }

    private RandomOperations MakeDisk(int seed, int length)
    {
        var operations = new RandomOperations(seed, (ulong)length);
        RawImage.Create(_directory["raw"], (ulong)length, false);
        using DiskImage image = DiskImages.Open(_directory["raw"], new DiskOpenOptions { Format = DiskFormat.Raw });
        operations.Run(image, 60);
        image.Write(4096, Enumerable.Repeat((byte)'x', 200_000).ToArray());
        operations.Expected.AsSpan(4096, 200_000).Fill((byte)'x');
        return operations;
    }
}
