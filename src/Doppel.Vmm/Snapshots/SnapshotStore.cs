using System.Globalization;
using Doppel.Devices.Storage.Images;
using Doppel.Devices.Storage.Qcow2;

namespace Doppel.Vmm.Snapshots;

/// <summary>
/// The snapshots of one machine: a folder with a folder for each. They form a tree, for one may hold only the pages of
/// memory that differ from another. Members may be called by any thread and process.
/// </summary>
/// <param name="path">The folder; it need not exist.</param>
public sealed class SnapshotStore(string path)
{
    /// <summary>The folder's path.</summary>
    public string Path { get; } = path;

    /// <summary>The snapshots, oldest first, and what is wrong with those that can't be read.</summary>
    public (IReadOnlyList<SnapshotManifest> Snapshots, IReadOnlyList<SnapshotException> Damaged) List()
    {
        var found = new List<SnapshotManifest>();
        var damaged = new List<SnapshotException>();
        foreach (string folder in Directory.Exists(Path) ? Directory.GetDirectories(Path) : [])
        {
            if (System.IO.Path.GetFileName(folder).StartsWith('.'))
                continue;
            try
            {
                found.Add(SnapshotReader.ReadManifest(folder));
            }
            catch (SnapshotException e)
            {
                damaged.Add(e);
            }
        }

        return ([.. found.OrderBy(manifest => manifest.Created)], damaged);
    }

    /// <summary>True when there is a snapshot of a name, whole or damaged.</summary>
    public bool Has(string name) => SnapshotFolder.IsName(name) && Directory.Exists(FolderOf(name));

    /// <summary>A snapshot's folder.</summary>
    /// <exception cref="SnapshotException">There is none of that name; those that there are are named.</exception>
    public string Find(string name)
    {
        if (Has(name))
            return FolderOf(name);
        string there = string.Join(", ", List().Snapshots.Select(manifest => manifest.Name));
        throw new SnapshotException($"there is no snapshot \"{name}\"; {(there.Length == 0 ? "the machine has none" : $"there are {there}")}");
    }

    /// <summary>A name that is free: s1, s2 and so on.</summary>
    public string NextName()
    {
        for (int i = 1; ; i++)
        {
            string name = string.Create(CultureInfo.InvariantCulture, $"s{i}");
            if (!Has(name))
                return name;
        }
    }

    /// <summary>Removes a snapshot and what its disks keep of it.</summary>
    /// <param name="name">Its name.</param>
    /// <param name="withChildren">True to remove those that differ from it, too; else they are in the way.</param>
    /// <param name="removeInternal">Deletes an internal snapshot (its name) of a disk image (its path); null to do it here, for images that no machine uses.</param>
    /// <returns>The names of what was removed.</returns>
    /// <exception cref="SnapshotException">There is none of that name, or others need it.</exception>
    /// <exception cref="DiskImageException">A disk's image is in use.</exception>
    public IReadOnlyList<string> Remove(string name, bool withChildren, Action<string, string>? removeInternal = null)
    {
        string folder = Find(name);
        SnapshotWriter.RemoveLeftovers(Path);
        IReadOnlyList<SnapshotManifest> all = List().Snapshots;
        List<string> children = [.. all.Where(manifest => manifest.Parent == name).Select(manifest => manifest.Name)];
        if (children.Count != 0 && !withChildren)
            throw new SnapshotException($"the snapshot \"{name}\" has pages of memory that {string.Join(", ", children)} need{(children.Count == 1 ? "s" : "")}; removing {(children.Count == 1 ? "that" : "those")} first, or --recursive, would be right");
        var removed = new List<string>();
        foreach (string child in children)
            removed.AddRange(Remove(child, true, removeInternal));
        SnapshotManifest? own = all.FirstOrDefault(manifest => manifest.Name == name);
        foreach (DiskEntry disk in own?.Disks ?? [])
        {
            if (disk is { State: DiskState.Internal, Place: string place })
                (removeInternal ?? DeleteInternal)(disk.Path, place);
        }

        SnapshotWriter.RemoveFolder(folder);
        removed.Add(name);
        return removed;
    }

    /// <summary>Removes a folder of snapshots or machines: it is gone at once, whatever happens while its files are removed.</summary>
    public static void RemoveFolder(string folder) => SnapshotWriter.RemoveFolder(folder);

    internal string FolderOf(string name) => System.IO.Path.Combine(Path, name);

    internal static void DeleteInternal(string path, string snapshot)
    {
        if (!File.Exists(path))
            return;
        using var image = (Qcow2Image)DiskImages.Open(path, new DiskOpenOptions { Format = DiskFormat.Qcow2, IsWithoutBacking = true });
        if (image.Snapshots.Any(s => s.Name == snapshot))
            image.DeleteSnapshot(snapshot);
    }
}
