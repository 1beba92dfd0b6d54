using System.Globalization;
using System.Security.Cryptography;
using System.Text;
using System.Text.Json;
using Doppel.Devices.Storage.Images;
using Doppel.Host.Files;

namespace Doppel.Vmm.Snapshots;

/// <summary>
/// Makes a machine of a snapshot: a suspended one, with a state of its own. Memory and sections are further names of the
/// snapshot's files, which never change; what the guest wrote to its disks lies behind an overlay for each clone.
/// </summary>
/// <param name="state">Where machines are.</param>
public sealed class SnapshotCloner(StateDirectory state)
{
    private const string Clones = "clones-";

    /// <summary>Makes the clone. It is there whole or not at all.</summary>
    /// <param name="folder">The snapshot.</param>
    /// <param name="name">The new machine's name.</param>
    /// <param name="complete">Adds to the clone's folder, before that gets its name, what belongs there; is given what the machine is made of, and the folder. Null for nothing.</param>
    /// <exception cref="SnapshotException">The snapshot can't be used, or the name is taken.</exception>
    /// <exception cref="SpecException">The name can't be.</exception>
    /// <exception cref="DiskImageException">A disk can't be copied.</exception>
    public void Clone(string folder, string name, Action<MachineSpec, string>? complete = null)
    {
        string machine = state.FolderOf(name);
        if (Directory.Exists(machine))
            throw new SnapshotException($"there already is a machine \"{name}\" in {machine}; another name would be right");
        using (SnapshotReader.Open(folder))
        {
            // It and those behind it are whole.
        }

        string parent = Path.GetDirectoryName(machine)!;
        _ = Directory.CreateDirectory(parent);
        SnapshotWriter.RemoveLeftovers(parent);
        string temporary = Path.Combine(parent, SnapshotWriter.TemporaryName());
        try
        {
            string suspended = Path.Combine(temporary, Path.GetFileName(state.SuspendedOf(name).Path));
            SnapshotManifest manifest = SnapshotReader.ReadManifest(folder);
            IReadOnlyList<DiskSpec> disks = manifest.Machine.Disks;
            var specs = new List<DiskSpec>();
            var entries = new List<DiskEntry>();
            _ = Directory.CreateDirectory(suspended);
            for (int i = 0; i < disks.Count; i++)
                CloneDisk(folder, disks[i], manifest.Disks[i], i, temporary, machine, specs, entries);
            manifest = manifest with { Id = Guid.NewGuid(), Description = $"a clone of {manifest.Machine.Name}, {manifest.Name}", Machine = OwnFiles(manifest.Machine, machine) with { Name = name, Disks = specs }, Disks = entries };
            Link(folder, manifest, suspended, StateDirectory.SuspendedName);
            complete?.Invoke(manifest.Machine, temporary);
            Directory.Move(temporary, machine);
        }
        catch
        {
            SnapshotWriter.RemoveFolder(temporary);
            throw;
        }
    }

    // UEFI's variables are in the state, which fills the file; what it prints goes on paper of its own.
    private static MachineSpec OwnFiles(MachineSpec spec, string machine) => spec with
    {
        FirmwareVariables = spec.FirmwareVariables is null ? null : MachinePaths.VariablesIn(machine),
        Parallel = spec.Parallel is null ? null : Path.Combine(machine, "printed"),
    };

    // A snapshot and those behind it, under names of the clone's own.
    private static void Link(string folder, SnapshotManifest manifest, string suspended, string name)
    {
        string target = Path.Combine(suspended, name);
        _ = Directory.CreateDirectory(target);
        foreach (string file in Directory.GetFiles(folder).Where(file => Path.GetFileName(file) is not (SnapshotFolder.ManifestFile or SnapshotFolder.ChecksumFile) && !Path.GetFileName(file).StartsWith(Clones, StringComparison.Ordinal)))
            LinkOrCopy(file, Path.Combine(target, Path.GetFileName(file)));
        string? behind = manifest.Parent is null ? null : $"{name}-base";
        byte[] json = JsonSerializer.SerializeToUtf8Bytes(manifest with { Name = name, Parent = behind }, SnapshotJson.Default.SnapshotManifest);
        AtomicFile.Write(Path.Combine(target, SnapshotFolder.ManifestFile), json);
        AtomicFile.Write(Path.Combine(target, SnapshotFolder.ChecksumFile), Encoding.ASCII.GetBytes($"{Convert.ToHexStringLower(SHA256.HashData(json))}  {SnapshotFolder.ManifestFile}\n"));
        if (behind is null)
            return;
        string next = Path.Combine(Path.GetDirectoryName(Path.GetFullPath(folder))!, manifest.Parent!);
        Link(next, SnapshotReader.ReadManifest(next), suspended, behind);
    }

    private static void CloneDisk(string folder, DiskSpec disk, DiskEntry entry, int number, string temporary, string machine, List<DiskSpec> specs, List<DiskEntry> entries)
    {
        if (entry.State is DiskState.ReadOnly or DiskState.Copied or DiskState.Contained)
        {
            specs.Add(disk);
            entries.Add(entry);
            return;
        }

        if (entry is not { State: DiskState.Internal, Place: string place })
            throw new SnapshotException($"{entry.Path}: the disk of a suspended machine belongs to it; a clone of a snapshot of the running machine would be right");
        string file = string.Create(CultureInfo.InvariantCulture, $"disk{number}.qcow2");
        string copy = Path.Combine(folder, Clones + file);
        if (!File.Exists(copy))
            Overlays.ExportSnapshot(entry.Path, place, copy);
        // The first clone copies what the image has; all of them have it behind them.
        LinkOrCopy(copy, Path.Combine(temporary, $"base-{file}"));
        DiskImages.Create(Path.Combine(temporary, file), new DiskCreateOptions { Format = DiskFormat.Qcow2, Backing = Path.Combine(temporary, $"base-{file}"), BackingFormat = DiskFormat.Qcow2 });
        Overlays.Rebase(Path.Combine(temporary, file), Path.Combine(machine, $"base-{file}"), DiskFormat.Qcow2, isHeaderOnly: true, null, CancellationToken.None);
        specs.Add(disk with { Path = Path.Combine(machine, file), Overlay = null, Format = DiskFormat.Qcow2 });
        entries.Add(entry with { Path = Path.Combine(machine, file), State = DiskState.Left, Place = null });
    }

    private static void LinkOrCopy(string existing, string name)
    {
        if (!HostFile.TryLink(existing, name))
            File.Copy(existing, name);
    }
}
