using Doppel.Devices.Storage.Images;

namespace Doppel.Devices.Tests.Storage;

/// <summary>Images that QEMU makes in the formats that are only read.</summary>
public sealed class ForeignFormatTests : IDisposable
{
    private static readonly DiskOpenOptions ReadOnly = new() { IsReadOnly = true };
    private readonly StorageDirectory _directory = new(isInMemory: true);

    public void Dispose() => _directory.Dispose();

    [Theory]
    [InlineData("vmdk", DiskFormat.Vmdk, "subformat=monolithicSparse")]
    [InlineData("vmdk", DiskFormat.Vmdk, "subformat=monolithicFlat")]
    [InlineData("vmdk", DiskFormat.Vmdk, "subformat=twoGbMaxExtentSparse")]
    [InlineData("vmdk", DiskFormat.Vmdk, "subformat=streamOptimized")]
    [InlineData("vmdk", DiskFormat.Vmdk, "subformat=monolithicSparse,zeroed_grain=on")]
    [InlineData("vpc", DiskFormat.Vhd, "subformat=fixed,force_size=on")]
    [InlineData("vpc", DiskFormat.Vhd, "subformat=dynamic,force_size=on")]
    [InlineData("vpc", DiskFormat.Vhd, "subformat=dynamic")]
    [InlineData("vhdx", DiskFormat.Vhdx, "subformat=fixed")]
    [InlineData("vhdx", DiskFormat.Vhdx, "subformat=dynamic")]
    [InlineData("vhdx", DiskFormat.Vhdx, "subformat=dynamic,block_size=1M")]
    public void A_disk_reads_as_QEMU_reads_it(string qemuFormat, DiskFormat format, string options)
    {
        int seed = Random.Shared.Next();
        var random = new Random(seed);
        byte[] disk = new byte[5 << 20];
        for (int i = 0; i < 12; i++)
        {
            int start = random.Next(disk.Length - 300_000);
            random.NextBytes(disk.AsSpan(start, random.Next(1, 300_000)));
        }

        disk.AsSpan(3 << 20, 900_000).Fill(42);
        File.WriteAllBytes(_directory["raw"], disk);
        string path = _directory[qemuFormat == "vpc" ? "disk.vhd" : "disk"];
        _ = QemuImg.Run("convert", "-f", "raw", "-O", qemuFormat, "-o", options, _directory["raw"], path);
        byte[] expected = QemuImg.ReadAll(path, qemuFormat, _directory);
        Assert.Contains("only be read", Assert.Throws<DiskImageException>(() => DiskImages.Open(path, new DiskOpenOptions())).Message, StringComparison.Ordinal);
        using DiskImage image = DiskImages.Open(path, ReadOnly);
        Assert.Equal((format, (ulong)expected.Length), (image.Format, image.Length));
        byte[] actual = new byte[expected.Length];
        image.Read(0, actual);
        Assert.True(expected.AsSpan().SequenceEqual(actual), $"seed {seed}");
        for (int i = 0; i < 200; i++)
        {
            int start = random.Next(expected.Length - 100_000), length = random.Next(1, 100_000);
            byte[] part = new byte[length];
            image.Read((ulong)start, part);
            Assert.True(expected.AsSpan(start, length).SequenceEqual(part), $"seed {seed}: {length} bytes at {start}");
            ImageExtent extent = image.GetExtent((ulong)start, (ulong)length);
            Assert.True(extent.Length > 0 && (extent.Kind == ExtentKind.Data || !expected.AsSpan(start, (int)extent.Length).ContainsAnyExcept((byte)0)), $"seed {seed}: {extent} at {start}");
        }
    }

    [Theory]
    [InlineData("vmdk")]
    [InlineData("vpc")]
    [InlineData("vhdx")]
    [InlineData("qcow2")]
    public void A_damaged_image_gives_an_error_and_nothing_else(string qemuFormat)
    {
        int seed = Random.Shared.Next();
        var random = new Random(seed);
        byte[] disk = new byte[1 << 20];
        random.NextBytes(disk.AsSpan(200_000, 300_000));
        File.WriteAllBytes(_directory["raw"], disk);
        string path = _directory["disk"], damaged = _directory["damaged"];
        _ = QemuImg.Run("convert", "-f", "raw", "-O", qemuFormat, _directory["raw"], path);
        byte[] good = File.ReadAllBytes(path);
        byte[] buffer = new byte[1 << 20];
        DiskFormat format = DiskFormats.Find(qemuFormat)!.Value;
        int[] tables = qemuFormat == "vhdx" ? [0, 65536, 196608, 2 << 20, 3 << 20] : [0, 512, 1536, 65536, 131072, 196608, 262144];
        for (int i = 0; i < (qemuFormat == "vhdx" ? 30 : 150); i++)
        {
            byte[] bytes = (byte[])good.Clone();
            for (int n = random.Next(1, 20); n > 0; n--)
            {
                int at = tables[random.Next(tables.Length)] + random.Next(200);
                if (at < bytes.Length)
                    bytes[at] = (byte)random.Next(256);
            }

            if (random.Next(5) == 0)
                bytes = bytes[..random.Next(bytes.Length)];
            File.WriteAllBytes(damaged, bytes);
            try
            {
                using DiskImage image = DiskImages.Open(damaged, ReadOnly with { Format = format });
                for (ulong at = 0; at < Math.Min(image.Length, 4 << 20); at += (ulong)buffer.Length)
                    image.Read(at, buffer.AsMemory(0, (int)Math.Min((ulong)buffer.Length, image.Length - at)));
                _ = image.GetExtent(0, Math.Max(image.Length, 1));
            }
            catch (IOException)
            {
                // Refused, as it should be.
            }
            catch (Exception e)
            {
                Assert.Fail($"seed {seed}, image {i}: {e}");
            }
        }
    }

    [Theory]
    [InlineData("RW 100 FLAT \"/etc/passwd\" 0", "without a directory")]
    [InlineData("RW 100 FLAT \"../x\" 0", "without a directory")]
    [InlineData("RW 100 SESPARSE \"x\"", "SESPARSE")]
    [InlineData("RW 100 FLAT \"missing\" 0", "no such file")]
    [InlineData("", "names no extent")]
    [InlineData("parentCID=12345678", "difference")]
    public void A_descriptor_that_cant_be_followed_is_refused(string line, string expected)
    {
        File.WriteAllText(_directory["disk.vmdk"], $"# Disk DescriptorFile\nversion=1\n{line}\n");
        Assert.Contains(expected, Assert.Throws<DiskImageException>(() => DiskImages.Open(_directory["disk.vmdk"], ReadOnly)).Message, StringComparison.Ordinal);
    }
}
