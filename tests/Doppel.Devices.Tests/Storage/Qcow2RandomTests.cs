using Doppel.Devices.Storage.Images;
using Doppel.Devices.Storage.Qcow2;

namespace Doppel.Devices.Tests.Storage;

/// <summary>Random operations on qcow2 images of all shapes; QEMU checks and reads what comes out.</summary>
public sealed class Qcow2RandomTests : IDisposable
{
    private static readonly DiskOpenOptions Qcow2 = new() { Format = DiskFormat.Qcow2 };
    private readonly StorageDirectory _directory = new(isInMemory: true);

    public void Dispose() => _directory.Dispose();

    [Theory]
    [InlineData(3, 65536, 16, false)]
    [InlineData(2, 65536, 16, false)]
    [InlineData(3, 512, 16, false)]
    [InlineData(3, 512, 64, false)]
    [InlineData(2, 512, 16, false)]
    [InlineData(3, 4096, 1, false)]
    [InlineData(3, 4096, 2, false)]
    [InlineData(3, 8192, 4, false)]
    [InlineData(3, 1024, 8, false)]
    [InlineData(3, 4096, 32, true)]
    [InlineData(3, 2 << 20, 16, true)]
    public void A_new_image_behaves_as_an_array_and_QEMU_agrees(int version, int clusterSize, int refcountBits, bool isLazy)
    {
        int seed = Random.Shared.Next();
        const ulong length = (6 << 20) + 1536;
        string path = _directory["disk.qcow2"];
        Qcow2Image.Create(path, new Qcow2Options { Length = length, Version = version, ClusterSize = clusterSize, RefcountBits = refcountBits, HasLazyRefcounts = isLazy });
        Qcow2Check.IsClean(path, seed);
        var operations = new RandomOperations(seed, length);
        for (int round = 0; round < 3; round++)
        {
            using (DiskImage image = DiskImages.Open(path, Qcow2))
            {
                operations.Run(image, 150);
                operations.Compare(image, $"in round {round}");
            }

            Qcow2Check.IsClean(path, seed);
            using DiskImage again = DiskImages.Open(path, Qcow2 with { IsReadOnly = true });
            operations.Compare(again, $"opened after round {round}");
        }

        Assert.True(operations.Expected.AsSpan().SequenceEqual(QemuImg.ReadAll(path, "qcow2", _directory)), $"seed {seed}: QEMU reads something else");
    }

    [Theory]
    [InlineData(3, 65536, DiskFormat.Qcow2)]
    [InlineData(3, 4096, DiskFormat.Raw)]
    [InlineData(2, 4096, DiskFormat.Raw)]
    [InlineData(2, 512, DiskFormat.Qcow2)]
    public void An_overlay_behaves_as_an_array_and_leaves_what_is_behind_it(int version, int clusterSize, DiskFormat format)
    {
        int seed = Random.Shared.Next();
        string backing = _directory["base"], path = _directory["overlay.qcow2"];
        const ulong backingLength = 3 << 20, length = 4 << 20;
        if (format == DiskFormat.Raw)
            RawImage.Create(backing, backingLength, false);
        else
            Qcow2Image.Create(backing, new Qcow2Options { Length = backingLength, ClusterSize = 4096 });
        var below = new RandomOperations(seed, backingLength);
        using (DiskImage image = DiskImages.Open(backing, new DiskOpenOptions { Format = format }))
            below.Run(image, 100);
        byte[] before = File.ReadAllBytes(backing);
        Qcow2Image.Create(path, new Qcow2Options { Length = length, Version = version, ClusterSize = clusterSize, BackingName = "base", BackingFormat = format.GetName() });
        var operations = new RandomOperations(seed + 1, length);
        below.Expected.CopyTo(operations.Expected, 0);
        using (DiskImage image = DiskImages.Open(path, Qcow2))
        {
            operations.Compare(image, "at first");
            operations.Run(image, 300);
            operations.Compare(image, "at the end");
        }

        Qcow2Check.IsClean(path, seed);
        Assert.True(operations.Expected.AsSpan().SequenceEqual(QemuImg.ReadAll(path, "qcow2", _directory)), $"seed {seed}: QEMU reads something else");
        Assert.Equal(before, File.ReadAllBytes(backing));
    }

    [Theory]
    [InlineData("-o", "compat=v3,lazy_refcounts=on")]
    [InlineData("-o", "compat=0.10")]
    [InlineData("-c", "-o", "compression_type=zlib")]
    [InlineData("-c", "-o", "compression_type=zstd")]
    [InlineData("-o", "preallocation=metadata")]
    [InlineData("-c", "-o", "cluster_size=4096,refcount_bits=8")]
    public void An_image_that_QEMU_made_is_read_and_written(params string[] options)
    {
        int seed = Random.Shared.Next();
        var operations = new RandomOperations(seed, 3 << 20);
        string raw = _directory["raw"], path = _directory["disk.qcow2"];
        var random = new Random(seed);
        for (int i = 0; i < operations.Expected.Length; i++)
            operations.Expected[i] = i % 200_000 < 120_000 ? (byte)(random.Next() & random.Next()) : (byte)0;
        File.WriteAllBytes(raw, operations.Expected);
        _ = QemuImg.Run(["convert", "-f", "raw", "-O", "qcow2", .. options, raw, path]);
        using (DiskImage image = DiskImages.Open(path, Qcow2))
        {
            operations.Compare(image, "as QEMU wrote it");
            operations.Run(image, 200);
            operations.Compare(image, "at the end");
        }

        Qcow2Check.IsClean(path, seed);
        Assert.True(operations.Expected.AsSpan().SequenceEqual(QemuImg.ReadAll(path, "qcow2", _directory)), $"seed {seed}: QEMU reads something else");
    }
}
