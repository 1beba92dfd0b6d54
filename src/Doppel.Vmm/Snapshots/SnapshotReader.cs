using System.Security.Cryptography;
using System.Text;
using System.Text.Json;
using Doppel.Host.Files;
using Doppel.Host.Processes;
using Doppel.Machine.Memory;
using Doppel.Vmm.Control;

namespace Doppel.Vmm.Snapshots;

/// <summary>
/// An open snapshot: its manifest and sections, checked, and the files with its memory, its own and those of the snapshots
/// that it differs from. One thread.
/// </summary>
public sealed class SnapshotReader : IDisposable
{
    // A shorter run is copied: a process can have only some ten thousand mappings.
    private const ulong MappedRun = 64;
    private readonly List<(HostFile File, MemoryPages Pages)> _layers = [];
    private readonly List<SavedSection> _sections = [];

    private SnapshotReader(string folder, SnapshotManifest manifest)
    {
        Folder = folder;
        Manifest = manifest;
    }

    /// <summary>The snapshot's folder.</summary>
    public string Folder { get; }

    /// <summary>What it is.</summary>
    public SnapshotManifest Manifest { get; }

    /// <summary>The sections but for that of memory.</summary>
    internal IReadOnlyList<SavedSection> Sections => _sections;

    /// <summary>The pages that are not zero in a new machine, over all layers.</summary>
    internal PageSet Written
    {
        get
        {
            PageSet all = _layers[0].Pages.Present.Clone();
            foreach ((_, MemoryPages pages) in _layers.Skip(1))
                all.Add(pages.Present);
            return all;
        }
    }

    /// <summary>Opens a snapshot and those behind it, which lie in the same parent folder.</summary>
    /// <param name="folder">Its folder.</param>
    /// <exception cref="SnapshotException">It is damaged, foreign, or one behind it is gone; the section is named.</exception>
    public static SnapshotReader Open(string folder)
    {
        var reader = new SnapshotReader(folder, ReadManifest(folder));
        try
        {
            SnapshotManifest manifest = reader.Manifest;
            reader.Add(folder, manifest, isNewest: true);
            for (int depth = 0; manifest.Parent is string parent; depth++)
            {
                string path = Path.Combine(Path.GetDirectoryName(Path.GetFullPath(folder))!, parent);
                if (depth > 1000 || !SnapshotFolder.IsName(parent) || !Directory.Exists(path))
                    throw new SnapshotException($"{folder}: it differs from the snapshot \"{parent}\", which is not there; without it the memory can't be had", "memory");
                SnapshotManifest next = ReadManifest(path);
                if (next.Id != manifest.ParentId)
                    throw new SnapshotException($"{folder}: the snapshot \"{parent}\" is not the one that this one differs from", "manifest");
                reader.Add(path, next, isNewest: false);
                manifest = next;
            }

            reader._layers.Reverse();
            if (reader.Manifest.UnsyncedBoot is string boot && boot != HostProcess.BootId)
                reader.VerifyMemory();
            return reader;
        }
        catch
        {
            reader.Dispose();
            throw;
        }
    }

    /// <summary>Reads and checks a manifest alone.</summary>
    /// <exception cref="SnapshotException">It is missing, damaged, no manifest or of an unknown version.</exception>
    public static SnapshotManifest ReadManifest(string folder)
    {
        byte[] json = ReadFile(folder, SnapshotFolder.ManifestFile, "manifest");
        string sum = Encoding.ASCII.GetString(ReadFile(folder, SnapshotFolder.ChecksumFile, "manifest"));
        if (!sum.StartsWith(Convert.ToHexStringLower(SHA256.HashData(json)), StringComparison.Ordinal))
            throw new SnapshotException($"{folder}: the manifest is damaged: its SHA-256 is not that of {SnapshotFolder.ChecksumFile}", "manifest");
        SnapshotManifest? manifest;
        try
        {
            manifest = MachineSpecJson.Read(json, SnapshotJson.Default.SnapshotManifest, "machine");
        }
        catch (JsonException e)
        {
            throw new SnapshotException($"{folder}: the manifest is no manifest of a snapshot: {e.Message}", "manifest", e);
        }

        if (manifest is not { Format: SnapshotManifest.FormatName })
            throw new SnapshotException($"{folder}: the manifest's format is \"{manifest?.Format}\"; \"{SnapshotManifest.FormatName}\" would be right", "manifest");
        if (manifest.Version is < SnapshotManifest.OldestVersion or > SnapshotManifest.CurrentVersion)
            throw new SnapshotException($"{folder}: the snapshot has version {manifest.Version}; versions {SnapshotManifest.OldestVersion} to {SnapshotManifest.CurrentVersion} can be restored", "manifest");
        return manifest;
    }

    /// <summary>Compares every page with its checksum; restoring reads pages only when the guest touches them and doesn't.</summary>
    /// <param name="progress">Told how far it is; null for nobody.</param>
    /// <param name="cancel">Ends it early.</param>
    /// <exception cref="SnapshotException">A page is damaged.</exception>
    public void VerifyMemory(Action<OperationProgress>? progress = null, CancellationToken cancel = default)
    {
        ulong done = 0, total = _layers.Aggregate(0UL, (sum, layer) => sum + layer.Pages.Present.Count);
        byte[] bytes = new byte[GuestMemory.PageSize];
        foreach ((HostFile file, MemoryPages pages) in _layers)
        {
            foreach ((ulong first, ulong count) in pages.Present.Runs())
            {
                cancel.ThrowIfCancellationRequested();
                progress?.Invoke(new OperationProgress("memory") { Done = done, Total = total, Unit = "pages" });
                done += count;
                for (ulong page = first; page < first + count; page++)
                {
                    file.Read((long)(page * GuestMemory.PageSize), bytes);
                    if (MemoryPages.Checksum(bytes) != pages[page])
                        throw new SnapshotException($"{file.Path}: memory is damaged at guest-physical 0x{page * GuestMemory.PageSize:x}: its checksum is not that of the section memory", "memory");
                }
            }
        }
    }

    /// <summary>Shows the memory in that of a machine of the same size, which nothing has written to yet.</summary>
    /// <exception cref="SnapshotException">It has another size, or a file is too short.</exception>
    internal void ShowMemory(GuestMemory memory)
    {
        long length = (long)(memory.HighRamSize != 0 ? memory.AddressSpaceSize : memory.LowRamSize);
        foreach ((HostFile file, MemoryPages pages) in _layers)
        {
            if (pages.Present.Capacity != memory.AddressSpaceSize / GuestMemory.PageSize || file.Length != length)
                throw new SnapshotException($"{file.Path}: memory is damaged or another machine's: the file has {file.Length} bytes, where this machine has {length}", "memory");
            if (pages.Present.Runs().LastOrDefault() is (ulong first, > 0 and ulong count) && !memory.IsInstalled((first + count - 1) * GuestMemory.PageSize))
                throw new SnapshotException($"{file.Path}: memory is damaged: page {first + count - 1} is not RAM", "memory");
        }

        memory.ShowFile(_layers[0].File, 0, memory.LowRamSize);
        if (memory.HighRamSize != 0)
            memory.ShowFile(_layers[0].File, GuestMemory.HighRamStart, memory.HighRamSize);
        foreach ((HostFile file, MemoryPages pages) in _layers.Skip(1))
        {
            foreach ((ulong first, ulong count) in pages.Present.Runs())
            {
                ulong address = first * GuestMemory.PageSize, bytes = count * GuestMemory.PageSize;
                if (count >= MappedRun)
                {
                    memory.ShowFile(file, address, bytes);
                    continue;
                }

                var views = new List<Memory<byte>>();
                if (!memory.TryGetStoredViews(address, bytes, views))
                    throw new SnapshotException($"{file.Path}: memory is damaged: page {first} is not RAM", "memory");
                foreach (Memory<byte> view in views)
                {
                    file.Read((long)address, view);
                    address += (ulong)view.Length;
                }
            }
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        foreach ((HostFile file, _) in _layers)
            file.Dispose();
        _layers.Clear();
    }

    private static byte[] ReadFile(string folder, string name, string section)
    {
        try
        {
            return File.ReadAllBytes(Path.Combine(folder, name));
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new SnapshotException($"{folder}: no snapshot: {e.Message}", section, e);
        }
    }

    private void Add(string folder, SnapshotManifest manifest, bool isNewest)
    {
        byte[] all = ReadFile(folder, SnapshotFolder.SectionsFile, "sections");
        SavedSection? memory = null;
        foreach (SectionEntry entry in manifest.Sections)
        {
            bool isMemory = entry.Name == MemoryPages.SectionName;
            if (!isNewest && !isMemory)
                continue;
            if (entry.Offset < 0 || entry.Length < 0 || entry.Offset > all.Length - entry.Length)
                throw new SnapshotException($"{folder}: section {entry.Name} is cut off: the file has {all.Length} bytes", entry.Name);
            byte[] bytes = all.AsSpan((int)entry.Offset, entry.Length).ToArray();
            if (Convert.ToHexStringLower(SHA256.HashData(bytes)) != entry.Sha256)
                throw new SnapshotException($"{folder}: section {entry.Name} is damaged: its SHA-256 is not that of the manifest", entry.Name);
            var section = new SavedSection(entry.Name, entry.Version, bytes);
            if (isMemory)
                memory = section;
            else
                _sections.Add(section);
        }

        if (memory is null)
            throw new SnapshotException($"{folder}: section {MemoryPages.SectionName} is missing", MemoryPages.SectionName);
        try
        {
            var pages = MemoryPages.Read(memory);
            _layers.Add((new HostFile(Path.Combine(folder, SnapshotFolder.MemoryFile), HostFileMode.Read), pages));
        }
        catch (Exception e) when (e is InvalidDataException or Host.HostException)
        {
            throw new SnapshotException($"{folder}: memory can't be had: {e.Message}", MemoryPages.SectionName, e);
        }
    }
}
