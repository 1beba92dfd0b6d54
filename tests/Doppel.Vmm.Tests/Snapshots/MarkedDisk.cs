using Doppel.Devices.Storage.Images;

namespace Doppel.Vmm.Tests.Snapshots;

/// <summary>A disk image that tells by one sector which of its states it is in.</summary>
internal static class MarkedDisk
{
    private const int Offset = 4096;
    private const int SectorBytes = 512;

    internal static void Write(string path, byte value)
    {
        using DiskImage image = DiskImages.Open(path, new DiskOpenOptions());
        image.Write(Offset, Enumerable.Repeat(value, SectorBytes).ToArray());
        image.Flush();
    }

    internal static byte Read(string path)
    {
        using DiskImage image = DiskImages.Open(path, new DiskOpenOptions { IsReadOnly = true });
        byte[] bytes = new byte[SectorBytes];
        image.Read(Offset, bytes);
        return bytes[0];
    }
}
