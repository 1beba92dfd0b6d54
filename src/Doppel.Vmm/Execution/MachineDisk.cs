using Doppel.Devices.Floppy;
using Doppel.Devices.Storage;
using Doppel.Devices.Storage.Images;

namespace Doppel.Vmm.Execution;

/// <summary>A disk whose image is open; it outlives the resets of its machine.</summary>
/// <param name="Spec">What was asked for.</param>
/// <param name="Image">The image.</param>
/// <param name="Backend">What the device uses of it; owns it.</param>
internal sealed record MachineDisk(DiskSpec Spec, DiskImage Image, IBlockBackend Backend)
{
    /// <summary>False for a drive that is empty.</summary>
    internal bool HasMedium => Spec.Path.Length != 0;

    /// <summary>Opens the images of a machine.</summary>
    /// <exception cref="DiskImageException">One can't be opened; none stays open.</exception>
    internal static IReadOnlyList<MachineDisk> OpenAll(MachineSpec spec)
    {
        var disks = new List<MachineDisk>();
        try
        {
            foreach (DiskSpec disk in spec.Disks)
            {
                disks.Add(Open(disk));
            }

            return disks;
        }
        catch
        {
            CloseAll(disks);
            throw;
        }
    }

    /// <summary>Opens a disk's image.</summary>
    /// <exception cref="DiskImageException">It can't be opened.</exception>
    internal static MachineDisk Open(DiskSpec disk)
    {
        DiskImage image = OpenImage(disk);
        if (disk is { Interface: DiskInterface.Floppy, Path.Length: > 0 } && FloppyGeometry.Find(image.Length) is null)
        {
            ulong length = image.Length;
            image.Dispose();
            throw new DiskImageException($"{disk.Path}: {length} bytes are no diskette; 368640 (360K), 737280 (720K), 1228800 (1.2M), 1474560 (1.44M) or 2949120 (2.88M) would be right");
        }

        var backend = new ImageBackend(image);
        backend.Limit(disk.BytesPerSecond, disk.OperationsPerSecond);
        return new MachineDisk(disk, image, backend);
    }

    /// <summary>Opens a disk's image alone; that of an empty drive is empty.</summary>
    /// <exception cref="DiskImageException">It can't be opened.</exception>
    internal static DiskImage OpenImage(DiskSpec disk)
    {
        if (disk.Path.Length == 0)
            return new EmptyImage();
        if (disk.IsEphemeral)
            return Overlays.OpenEphemeral(disk.Path, disk.Format, Overlays.TemporaryDirectory);
        if (disk.Overlay is string overlay)
            return Overlays.Open(overlay, disk.Path, disk.Format);
        return DiskImages.Open(disk.Path, new DiskOpenOptions { Format = disk.Format, IsReadOnly = disk.IsReadOnly });
    }

    /// <summary>Closes images, after what is under way. No machine uses them any more.</summary>
    internal static void CloseAll(IEnumerable<MachineDisk> disks)
    {
        foreach (MachineDisk disk in disks)
            disk.Backend.DisposeAsync().AsTask().GetAwaiter().GetResult();
    }
}
