using Doppel.Devices.Storage;
using Doppel.Devices.Storage.Images;

namespace Doppel.Vmm.Execution;

/// <summary>A disk whose image is open; it outlives the resets of its machine.</summary>
/// <param name="Spec">What was asked for.</param>
/// <param name="Image">The image.</param>
/// <param name="Backend">What the device uses of it; owns it.</param>
internal sealed record MachineDisk(DiskSpec Spec, DiskImage Image, IBlockBackend Backend)
{
    /// <summary>Opens the images of a machine.</summary>
    /// <exception cref="DiskImageException">One can't be opened; none stays open.</exception>
    internal static IReadOnlyList<MachineDisk> OpenAll(MachineSpec spec)
    {
        var disks = new List<MachineDisk>();
        try
        {
            foreach (DiskSpec disk in spec.Disks)
            {
                DiskImage image = Open(disk);
                disks.Add(new MachineDisk(disk, image, new ImageBackend(image)));
            }

            return disks;
        }
        catch
        {
            CloseAll(disks);
            throw;
        }
    }

    /// <summary>Opens one image.</summary>
    /// <exception cref="DiskImageException">It can't be opened.</exception>
    internal static DiskImage Open(DiskSpec disk)
    {
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
