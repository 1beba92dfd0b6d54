using System.Globalization;
using System.Security.Cryptography;
using System.Text;
using System.Text.Json;
using Doppel.Host.Files;
using Doppel.Machine.Memory;

namespace Doppel.Vmm.Snapshots;

/// <summary>
/// Writes one snapshot into a folder with a temporary name, which gets its own name when all of it is durable: whenever
/// the writer's process or host dies, there is a whole snapshot or none. One thread at a time.
/// </summary>
internal sealed class SnapshotWriter : IDisposable
{
    /// <summary>What names of unfinished folders begin with.</summary>
    internal const string Temporary = ".new-";

    private const ulong PagesPerReport = 2048;
    private static readonly byte[] Zeros = new byte[GuestMemory.PageSize];
    private static readonly uint ZeroChecksum = MemoryPages.Checksum(Zeros);
    private readonly string _parent;
    private readonly string _name;
    private readonly GuestMemory _memory;
    private readonly HostFile _file;
    private readonly Action<string>? _step;
    private readonly PageSet _isWritten;
    private bool _isDone;

    /// <summary>Makes the temporary folder.</summary>
    /// <param name="parent">The folder of snapshots; made if there is none.</param>
    /// <param name="name">The snapshot's name.</param>
    /// <param name="memory">The memory that is saved.</param>
    /// <param name="step">Told what is done next; for tests that end there. Null for nobody.</param>
    /// <exception cref="SnapshotException">There already is one of that name.</exception>
    /// <exception cref="IOException">The host refuses.</exception>
    internal SnapshotWriter(string parent, string name, GuestMemory memory, Action<string>? step = null)
    {
        _parent = parent;
        _name = name;
        _memory = memory;
        _step = step;
        _ = Directory.CreateDirectory(parent);
        RefuseIfPresent();
        Folder = Path.Combine(parent, TemporaryName());
        Step("folder");
        _ = Directory.CreateDirectory(Folder, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
        _file = new HostFile(Path.Combine(Folder, SnapshotFolder.MemoryFile), HostFileMode.CreateNew);
        _file.SetLength((long)(memory.HighRamSize != 0 ? memory.AddressSpaceSize : memory.LowRamSize));
        _isWritten = PageSet.For(memory);
        Pages = new MemoryPages(memory.AddressSpaceSize / GuestMemory.PageSize);
    }

    /// <summary>The temporary folder, for files of disks.</summary>
    internal string Folder { get; }

    /// <summary>The snapshot's name.</summary>
    internal string Name => _name;

    /// <summary>The pages that are written.</summary>
    internal MemoryPages Pages { get; }

    /// <summary>Bytes written to the file of memory.</summary>
    internal ulong BytesWritten { get; private set; }

    /// <summary>Writes pages as they are now; what is written again replaces what was. The machine may run.</summary>
    /// <param name="pages">The pages.</param>
    /// <param name="cancel">Ends it between runs of pages.</param>
    /// <param name="written">Told how many of them are done, now and then; null for nobody.</param>
    internal void WritePages(PageSet pages, CancellationToken cancel, Action<ulong>? written = null)
    {
        Step("pages");
        ulong done = 0, told = 0;
        var views = new List<Memory<byte>>();
        foreach ((ulong first, ulong count) in pages.Runs())
        {
            ulong end = first + count;
            for (ulong page = first; page < end;)
            {
                cancel.ThrowIfCancellationRequested();
                if (done + page - first >= told + PagesPerReport)
                    written?.Invoke(told = done + page - first);
                ulong unused = _memory.UnusedFrom(page * GuestMemory.PageSize, (end - page) * GuestMemory.PageSize) / GuestMemory.PageSize;
                Clear(page, unused);
                page += unused;
                ulong from = page;
                // Looking for unused pages again and again would cost more than it saves.
                for (ulong stop = Math.Min(end, page + 64); page < stop; page++)
                {
                    ReadOnlySpan<byte> bytes = _memory.GetStoredPage(page * GuestMemory.PageSize);
                    // A page that was never written needs no zeros: the file has a hole there.
                    bool isHole = !_isWritten.Contains(page) && !bytes.ContainsAnyExcept((byte)0);
                    Pages.Set(page, MemoryPages.Checksum(bytes));
                    if (!isHole)
                        continue;
                    Write(from, page - from, views);
                    from = page + 1;
                }

                Write(from, page - from, views);
            }

            done += count;
        }
    }

    /// <summary>Makes everything durable and gives the folder its name.</summary>
    /// <param name="manifest">The manifest but for its sections and pages.</param>
    /// <param name="sections">The sections, without that of the pages.</param>
    /// <exception cref="SnapshotException">There is one of that name by now.</exception>
    internal SnapshotManifest Commit(SnapshotManifest manifest, IEnumerable<SavedSection> sections)
    {
        bool waits = manifest.UnsyncedBoot is null;
        if (waits)
        {
            Step("sync of memory");
            _file.Sync();
        }

        List<SavedSection> all = [.. sections, Pages.Save()];
        var entries = new List<SectionEntry>();
        long offset = 0;
        foreach (SavedSection section in all)
        {
            entries.Add(new SectionEntry(section.Name, section.Version, offset, section.Bytes.Length, Convert.ToHexStringLower(SHA256.HashData(section.Bytes))));
            offset += section.Bytes.Length;
        }

        manifest = manifest with { Sections = entries, Pages = Pages.Present.Count };
        Write(SnapshotFolder.SectionsFile, [.. all.Select(section => (ReadOnlyMemory<byte>)section.Bytes)], waits);
        byte[] json = [.. JsonSerializer.SerializeToUtf8Bytes(manifest, SnapshotJson.Default.SnapshotManifest), (byte)'\n'];
        Write(SnapshotFolder.ManifestFile, [json], waits);
        string sum = $"{Convert.ToHexStringLower(SHA256.HashData(json))}  {SnapshotFolder.ManifestFile}\n";
        Write(SnapshotFolder.ChecksumFile, [Encoding.ASCII.GetBytes(sum)], waits);
        if (waits)
        {
            Step("sync of the folder");
            SyncFolder(Folder);
        }

        RefuseIfPresent();
        Step("rename");
        Directory.Move(Folder, Path.Combine(_parent, _name));
        _isDone = true;
        if (!waits)
            return manifest;
        try
        {
            Step("sync of the parent");
            SyncFolder(_parent);
        }
        catch (IOException)
        {
            RemoveFolder(Path.Combine(_parent, _name));
            throw;
        }

        return manifest;
    }

    /// <summary>Removes what did not become a snapshot.</summary>
    public void Dispose()
    {
        _file.Dispose();
        if (!_isDone)
            RemoveFolder(Folder);
        _isDone = true;
    }

    /// <summary>Closes the file and leaves everything, as a kill does.</summary>
    internal void Abandon()
    {
        _isDone = true;
        _file.Dispose();
    }

    /// <summary>Removes a folder, under a temporary name, so that it is never half of a snapshot.</summary>
    internal static void RemoveFolder(string folder)
    {
        if (!Directory.Exists(folder))
            return;
        string parent = Path.GetDirectoryName(folder)!;
        if (!Path.GetFileName(folder).StartsWith(Temporary, StringComparison.Ordinal))
        {
            string gone = Path.Combine(parent, TemporaryName());
            Directory.Move(folder, gone);
            folder = gone;
        }

        Directory.Delete(folder, recursive: true);
    }

    /// <summary>Removes what savers left that were killed.</summary>
    internal static void RemoveLeftovers(string parent)
    {
        foreach (string folder in Directory.Exists(parent) ? Directory.GetDirectories(parent, Temporary + "*") : [])
        {
            string process = Path.GetFileName(folder)[Temporary.Length..].Split('-')[0];
            if (!Directory.Exists($"/proc/{process}"))
                Directory.Delete(folder, recursive: true);
        }
    }

    /// <summary>A name for a folder that is not whole yet.</summary>
    internal static string TemporaryName() => string.Create(CultureInfo.InvariantCulture, $"{Temporary}{Environment.ProcessId}-{Guid.NewGuid():N}");

    private static void SyncFolder(string folder)
    {
        using var directory = new HostFile(folder, HostFileMode.Read);
        directory.Sync();
    }

    // Pages that are zeros.
    private void Clear(ulong first, ulong count)
    {
        for (ulong page = first; page < first + count; page++)
        {
            Pages.Set(page, ZeroChecksum);
            if (!_isWritten.Contains(page))
                continue;
            if (!_file.TryPunchHole((long)(page * GuestMemory.PageSize), GuestMemory.PageSize))
                _file.Write((long)(page * GuestMemory.PageSize), Zeros);
        }
    }

    private void Write(ulong page, ulong count, List<Memory<byte>> views)
    {
        if (count == 0)
            return;
        _isWritten.Add(page, count);
        views.Clear();
        ulong address = page * GuestMemory.PageSize, length = count * GuestMemory.PageSize;
        if (!_memory.TryGetStoredViews(address, length, views))
            throw new InvalidOperationException($"0x{address:x} is written to and no memory");
        ulong at = address;
        foreach (Memory<byte> view in views)
        {
            _file.Write((long)at, view);
            at += (ulong)view.Length;
        }

        BytesWritten += length;
    }

    private void Write(string name, IReadOnlyList<ReadOnlyMemory<byte>> parts, bool waits)
    {
        Step(name);
        using var file = new HostFile(Path.Combine(Folder, name), HostFileMode.CreateNew);
        long at = 0;
        foreach (ReadOnlyMemory<byte> part in parts)
        {
            file.Write(at, part);
            at += part.Length;
        }

        if (!waits)
            return;
        Step($"sync of {name}");
        file.Sync();
    }

    private void RefuseIfPresent()
    {
        if (Directory.Exists(Path.Combine(_parent, _name)))
            throw new SnapshotException($"there already is a snapshot \"{_name}\"; another name, or removing it first, would be right");
    }

    private void Step(string what) => _step?.Invoke(what);
}
