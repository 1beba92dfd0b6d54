using Doppel.Devices.Storage.Images;
using Doppel.Devices.Storage.Qcow2;

namespace Doppel.Devices.Tests.Storage;

/// <summary>Loses the host's page cache at random moments.</summary>
public sealed class Qcow2PowerLossTests : IDisposable
{
    private const int Operations = 300;
    private static readonly DiskOpenOptions Qcow2 = new() { Format = DiskFormat.Qcow2 };
    private readonly StorageDirectory _directory = new(isInMemory: true);

    public void Dispose() => _directory.Dispose();

    [Theory]
    [InlineData(3, 65536, true, false)]
    [InlineData(3, 4096, true, false)]
    [InlineData(3, 512, false, true)]
    [InlineData(2, 4096, true, false)]
    [InlineData(2, 512, false, false)]
    public void What_was_flushed_survives_a_lost_page_cache(int version, int clusterSize, bool hasBacking, bool isLazy)
    {
        int seed = Random.Shared.Next();
        var random = new Random(seed);
        string path = _directory["disk.qcow2"];
        if (hasBacking)
            File.WriteAllBytes(_directory["base"], StampedDisk.Stamp(1, StampedDisk.Sectors));
        Qcow2Image.Create(path, new Qcow2Options
        {
            Length = StampedDisk.Sectors * StampedDisk.SectorSize,
            Version = version,
            ClusterSize = clusterSize,
            HasLazyRefcounts = isLazy,
            BackingName = hasBacking ? "base" : null,
            BackingFormat = hasBacking ? "raw" : null,
        });
        var disk = new StampedDisk(seed);
        var file = new LossyFile(File.ReadAllBytes(path), random);
        int now = 2, losses = 0, untilLoss = 20;
        file.Changing = () =>
        {
            if (untilLoss-- > 0)
                return;
            untilLoss = random.Next(1, clusterSize < 4096 ? 500 : 100);
            losses++;
            VerifyLoss(file.Lose(), disk, now + 1, version, $"seed {seed}, loss {losses} at operation {now}");
        };
        using (var image = (Qcow2Image)DiskImages.Open(path, Qcow2))
        {
            disk.Adopt(image, now);
            image.File.Observer = file;
            for (; now < Operations; now++)
            {
                if (StampedDisk.Apply(image, StampedDisk.Operation(seed, now), now))
                    disk.FlushedUpTo(now);
            }

            image.Flush();
            disk.FlushedUpTo(now);
        }

        VerifyLoss(file.Lose(), disk, now, version, $"seed {seed}, after closing");
        Assert.True(losses > 0, $"{losses} losses");
    }

    private void VerifyLoss(byte[] content, StampedDisk disk, int end, int version, string context)
    {
        string path = _directory["lost.qcow2"];
        File.WriteAllBytes(path, content);
        if (version == 2)
        {
            (int code, string said) = QemuImg.Try("qemu-img", "check", "-f", "qcow2", path);
            Assert.True(code is 0 or 3, $"{context}: {said}");
        }

        using (DiskImage image = DiskImages.Open(path, Qcow2))
            disk.Verify(image, end, context);
        using (ImageFile file = ImageFile.Open(path, isReadOnly: true))
        {
            Qcow2CheckResult result = new Qcow2Checker(file, Qcow2Header.Read(file)).Run();
            Assert.True(result.ErrorCount == 0, $"{context}: {string.Join("; ", result.Errors.Take(3))}");
        }

        File.Delete(path);
    }
}
