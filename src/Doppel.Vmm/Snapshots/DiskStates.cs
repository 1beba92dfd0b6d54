using System.Globalization;
using Doppel.Devices.Storage.Images;
using Doppel.Devices.Storage.Qcow2;
using Doppel.Vmm.Execution;

namespace Doppel.Vmm.Snapshots;

/// <summary>Keeps the disks of a machine as they are at the moment of a snapshot, and brings them back.</summary>
internal static class DiskStates
{
    /// <summary>What will be kept of a disk.</summary>
    /// <exception cref="SnapshotException">Its image can't keep a state.</exception>
    internal static DiskState KindOf(MachineDisk disk, bool ends)
    {
        if (disk.Backend.IsReadOnly)
            return disk.Spec.IsTemporary ? DiskState.Contained : DiskState.ReadOnly;
        if (disk.Spec.IsEphemeral)
            return DiskState.Copied;
        if (ends)
            return DiskState.Left;
        return disk.Image is Qcow2Image ? DiskState.Internal : throw new SnapshotException(
            $"{disk.Image.Name}: an image of the format {disk.Image.Format.GetName()} that the guest writes to can't keep a snapshot; a qcow2 image (\"doppel disk convert\"), overlay=FILE or ephemeral would be right");
    }

    /// <summary>Keeps the disks. No operation is under way.</summary>
    /// <param name="disks">The disks.</param>
    /// <param name="folder">The snapshot's folder.</param>
    /// <param name="id">The snapshot.</param>
    /// <param name="ends">True when the machine ends now.</param>
    internal static IReadOnlyList<DiskEntry> Keep(IReadOnlyList<MachineDisk> disks, string folder, Guid id, bool ends)
    {
        var kept = new List<DiskEntry>();
        try
        {
            foreach (MachineDisk disk in disks)
                kept.Add(Keep(disk, KindOf(disk, ends), folder, id, kept.Count));
            return kept;
        }
        catch
        {
            Forget(disks, kept);
            throw;
        }
    }

    /// <summary>Takes back what was kept in the images themselves; the snapshot came to nothing.</summary>
    internal static void Forget(IReadOnlyList<MachineDisk> disks, IReadOnlyList<DiskEntry> kept)
    {
        foreach ((MachineDisk disk, DiskEntry entry) in disks.Zip(kept))
        {
            if (entry is { State: DiskState.Internal, Place: string place })
                ((Qcow2Image)disk.Image).DeleteSnapshot(place);
        }
    }

    /// <summary>Deletes internal snapshots of images, some of which are open.</summary>
    internal static Action<string, string> Remover(IReadOnlyList<MachineDisk> open) => (path, snapshot) =>
    {
        if (open.FirstOrDefault(disk => NameOf(disk.Spec) == path)?.Image is not Qcow2Image image)
            SnapshotStore.DeleteInternal(path, snapshot);
        else if (image.Snapshots.Any(s => s.Name == snapshot))
            image.DeleteSnapshot(snapshot);
    };

    /// <summary>Opens the disks of a snapshot as they were then. What was written to them since is lost.</summary>
    /// <exception cref="SnapshotException">A disk is not that of the snapshot.</exception>
    /// <exception cref="DiskImageException">An image can't be opened.</exception>
    internal static IReadOnlyList<MachineDisk> Open(MachineSpec spec, SnapshotReader snapshot)
    {
        IReadOnlyList<DiskEntry> entries = snapshot.Manifest.Disks;
        if (entries.Count != spec.Disks.Count)
            throw new SnapshotException($"{snapshot.Folder}: the manifest has {entries.Count} disks for a machine with {spec.Disks.Count}", "manifest");
        // Opening an image may change it.
        DiskStamps.Verify(snapshot.Folder, entries);
        IReadOnlyList<MachineDisk> disks = MachineDisk.OpenAll(spec with { Disks = [.. spec.Disks.Zip(entries, (disk, entry) => PlaceOf(disk, entry, snapshot.Folder))] });
        try
        {
            foreach ((MachineDisk disk, DiskEntry entry) in disks.Zip(entries))
                Revert(disk, entry, snapshot.Folder);
            return [.. disks.Zip(spec.Disks, (disk, given) => disk with { Spec = given })];
        }
        catch
        {
            MachineDisk.CloseAll(disks);
            throw;
        }
    }

    private static DiskEntry Keep(MachineDisk disk, DiskState state, string folder, Guid id, int index)
    {
        string? place = null;
        if (state == DiskState.Internal)
        {
            place = $"doppel-{id:N}";
            _ = ((Qcow2Image)disk.Image).CreateSnapshot(place, DateTimeOffset.UtcNow);
        }
        else if (state == DiskState.Copied)
        {
            place = string.Create(CultureInfo.InvariantCulture, $"disk{index}.qcow2");
            Copy(disk, Path.Combine(folder, place));
        }
        else if (state == DiskState.Contained)
        {
            place = string.Create(CultureInfo.InvariantCulture, $"disk{index}.img");
            RawImage.Create(Path.Combine(folder, place), disk.Image.Length, isReserved: false);
            using DiskImage copy = DiskImages.Open(Path.Combine(folder, place), new DiskOpenOptions { Format = DiskFormat.Raw });
            DiskConverter.Copy(disk.Image, copy, null, CancellationToken.None);
        }
        else if (state == DiskState.Left)
        {
            disk.Image.Flush();
        }

        return new DiskEntry { Path = NameOf(disk.Spec), State = state, Place = place, Length = disk.Image.Length };
    }

    // A snapshot may be removed while its machine goes on: the file stays open.
    private static DiskSpec PlaceOf(DiskSpec disk, DiskEntry entry, string folder) =>
        entry is { State: DiskState.Contained, Place: string place } ? disk with { Path = Path.Combine(folder, place), Format = DiskFormat.Raw, IsReadOnly = true } : disk;

    private static void Copy(MachineDisk disk, string path)
    {
        DiskImages.Create(path, new DiskCreateOptions { Format = DiskFormat.Qcow2, Backing = FullName(disk.Spec.Path), BackingFormat = disk.Spec.Format });
        using DiskImage copy = DiskImages.Open(path, new DiskOpenOptions { Format = DiskFormat.Qcow2 });
        DiskConverter.Commit((Qcow2Image)disk.Image, copy, null, CancellationToken.None);
    }

    private static void Revert(MachineDisk disk, DiskEntry entry, string folder)
    {
        if (entry.State == DiskState.Internal)
        {
            if (disk.Image is not Qcow2Image image || image.Snapshots.All(s => s.Name != entry.Place))
                throw new SnapshotException($"{disk.Image.Name}: the image has no internal snapshot \"{entry.Place}\"; it is not the disk of this snapshot, or no longer");
            image.ApplySnapshot(entry.Place!);
        }
        else if (entry.State == DiskState.Copied)
        {
            if (disk.Image is not Qcow2Image overlay || !disk.Spec.IsEphemeral)
                throw new SnapshotException($"{disk.Image.Name}: the disk was ephemeral when the snapshot was made, and must be so again");
            using var saved = (Qcow2Image)DiskImages.Open(Path.Combine(folder, entry.Place!), new DiskOpenOptions { Format = DiskFormat.Qcow2, IsReadOnly = true, IsWithoutBacking = true });
            DiskConverter.Commit(saved, overlay, null, CancellationToken.None);
        }

        if (disk.Image.Length != entry.Length)
            throw new SnapshotException($"{disk.Image.Name}: the disk has {disk.Image.Length} bytes, and had {entry.Length} when the snapshot was made; it is another image");
    }

    // Where the guest's writes went.
    private static string NameOf(DiskSpec disk) => FullName(disk.Overlay ?? disk.Path);

    private static string FullName(string name) => name.Length == 0 || Overlays.IsAddress(name) ? name : Path.GetFullPath(name);
}
