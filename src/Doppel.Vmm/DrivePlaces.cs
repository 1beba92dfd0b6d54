using Doppel.Devices.Ahci;
using Doppel.Devices.Floppy;
using Doppel.Devices.Storage.Images;

namespace Doppel.Vmm;

/// <summary>Which drive of a controller each disk of a machine is.</summary>
internal static class DrivePlaces
{
    /// <summary>Drives of the IDE controller: two on each of two channels.</summary>
    internal const int MaximumIde = 4;

    // Where guests of the time expect a CD drive first: alone on the second channel.
    private static readonly int[] CdPlaces = [2, 3, 1, 0];

    /// <summary>The IDE drives: primary master, primary slave, secondary master, secondary slave.</summary>
    /// <param name="disks">The disks; at most <see cref="MaximumIde"/> of them on IDE.</param>
    /// <returns>For each place the number of its disk; null for none.</returns>
    internal static IReadOnlyList<int?> OfIde(IReadOnlyList<DiskSpec> disks)
    {
        int?[] places = new int?[MaximumIde];
        for (int i = 0; i < disks.Count; i++)
        {
            if (disks[i] is { Interface: DiskInterface.Ide, IsCdrom: true })
                places[CdPlaces.First(place => places[place] is null)] = i;
        }

        for (int i = 0; i < disks.Count; i++)
        {
            if (disks[i] is { Interface: DiskInterface.Ide, IsCdrom: false })
                places[Array.FindIndex(places, place => place is null)] = i;
        }

        return places;
    }

    /// <summary>Checks that there are places, and that what has a tray is a drive.</summary>
    /// <exception cref="SpecException">There are too many drives, or a disk without a medium.</exception>
    internal static void Validate(IReadOnlyList<DiskSpec> disks)
    {
        int ide = disks.Count(disk => disk.Interface == DiskInterface.Ide);
        if (ide > MaximumIde)
            throw new SpecException("disks", $"--disk FILE,if=ide and --cdrom are given {ide} times: at most {MaximumIde} drives on IDE would be right");
        int ahci = disks.Count(disk => disk.Interface == DiskInterface.Ahci);
        if (ahci > AhciController.PortCount)
            throw new SpecException("disks", $"drives with if=ahci are given {ahci} times: at most {AhciController.PortCount} would be right");
        int floppies = disks.Count(disk => disk.Interface == DiskInterface.Floppy);
        if (floppies > FloppyController.DriveCount)
            throw new SpecException("disks", $"--floppy is given {floppies} times: at most {FloppyController.DriveCount} drives would be right");
        foreach (DiskSpec disk in disks)
        {
            if (disk.Interface == DiskInterface.Floppy && (disk.IsEphemeral || disk.Overlay is not null || disk.Format is not (null or DiskFormat.Raw)))
                throw new SpecException("disks", $"--floppy {disk.Path}: a raw image without an overlay would be right");
            if (disk.IsCdrom && (disk.Interface is not (DiskInterface.Ide or DiskInterface.Ahci) || !disk.IsReadOnly || disk.IsEphemeral || disk.Overlay is not null))
                throw new SpecException("disks", $"--cdrom {disk.Path}: a CD drive is read-only, and on IDE or AHCI");
            if (!disk.IsRemovable && disk.Path.Length == 0)
                throw new SpecException("disks", "--disk \"\": the path of an image would be right");
        }
    }
}
