using System.Globalization;
using Doppel.Devices.Storage.Images;

namespace Doppel.Devices.Storage.Qcow2;

public sealed partial class Qcow2Image
{
    /// <summary>The internal snapshots, oldest first.</summary>
    public IReadOnlyList<Qcow2Snapshot> Snapshots => SnapshotTable.Read(_file, _header).Snapshots;

    /// <summary>Keeps the disk as it is now. Operations wait meanwhile; whoever wants a consistent disk stops the guest first.</summary>
    /// <param name="name">What to call it.</param>
    /// <param name="created">The time to note.</param>
    /// <exception cref="DiskImageException">There is one of that name, or the image can't count so many.</exception>
    public Qcow2Snapshot CreateSnapshot(string name, DateTimeOffset created)
    {
        ArgumentException.ThrowIfNullOrEmpty(name);
        CheckWritable();
        using RangeLock.Holder holder = _ranges.Enter(0, ulong.MaxValue, isExclusive: true);
        List<Qcow2Snapshot> snapshots = [.. Snapshots];
        if (snapshots.Any(s => s.Name == name || s.Id == name))
            throw new DiskImageException($"{Name}: there already is a snapshot \"{name}\"; another name, or deleting it first, would be right");
        if ((ulong)snapshots.Count + 2 > _metadata.Refcounts.Maximum)
            throw new DiskImageException($"{Name}: the image's counts of {1 << _header.RefcountOrder} bits allow no further snapshot; an image with wider counts would be right");
        int id = snapshots.Select(s => int.TryParse(s.Id, NumberStyles.None, CultureInfo.InvariantCulture, out int n) ? n : 0).DefaultIfEmpty().Max() + 1;
        Qcow2Snapshot? snapshot = null;
        Recount(() =>
        {
            AddReferences(_metadata.L1);
            UpdateCopied();
            ulong[] table = _metadata.L1;
            ulong first = _metadata.AllocateAtEnd(_metadata.ClustersOf(table.Length * 8L));
            _metadata.Commit();
            _file.Write(first << _header.ClusterBits, _metadata.SerializeL1(table));
            snapshot = new Qcow2Snapshot
            {
                Id = id.ToString(CultureInfo.InvariantCulture),
                Name = name,
                Created = created,
                Length = _header.Size,
                L1Offset = first << _header.ClusterBits,
                L1Entries = (uint)table.Length,
            };
            _metadata.ReplaceSnapshots([.. snapshots, snapshot]);
        });
        return snapshot!;
    }

    /// <summary>Makes the disk what it was when a snapshot was made; what it is now is lost.</summary>
    /// <param name="name">The snapshot's name or ID.</param>
    /// <exception cref="DiskImageException">There is none.</exception>
    public void ApplySnapshot(string name)
    {
        CheckWritable();
        using RangeLock.Holder holder = _ranges.Enter(0, ulong.MaxValue, isExclusive: true);
        Qcow2Snapshot snapshot = FindSnapshot(name);
        ulong[] table = ReadL1(snapshot);
        if (table.Length < _header.L1EntriesFor(snapshot.Length))
            throw new DiskImageException($"{Name}: the table of snapshot \"{name}\" is too short for its {snapshot.Length} bytes");
        Recount(() =>
        {
            AddReferences(table);
            for (int i = 0; i < table.Length; i++)
                table[i] &= ~Qcow2Features.Copied;
            ulong[] old = _metadata.L1;
            _metadata.ReplaceL1(table, snapshot.Length);
            Volatile.Write(ref _size, snapshot.Length);
            DropReferences(old);
            _metadata.Commit();
            UpdateCopied();
        });
    }

    /// <summary>Deletes a snapshot.</summary>
    /// <param name="name">Its name or ID.</param>
    /// <exception cref="DiskImageException">There is none.</exception>
    public void DeleteSnapshot(string name)
    {
        CheckWritable();
        using RangeLock.Holder holder = _ranges.Enter(0, ulong.MaxValue, isExclusive: true);
        Qcow2Snapshot snapshot = FindSnapshot(name);
        ulong[] table = ReadL1(snapshot);
        Recount(() =>
        {
            _metadata.ReplaceSnapshots([.. Snapshots.Where(s => s.Id != snapshot.Id)]);
            DropReferences(table);
            lock (_metadata.Sync)
            {
                for (int i = 0; i < _metadata.ClustersOf(table.Length * 8L); i++)
                    _metadata.Free((snapshot.L1Offset >> _header.ClusterBits) + (ulong)i, true);
            }

            _metadata.Commit();
            UpdateCopied();
        });
    }

    /// <summary>Makes an image that is open for reading show a snapshot instead of the disk.</summary>
    /// <param name="name">The snapshot's name or ID.</param>
    /// <exception cref="DiskImageException">There is none, or the image is open for writing.</exception>
    public void ShowSnapshot(string name)
    {
        if (!IsReadOnly)
            throw new DiskImageException($"{Name}: only an image that is open for reading can show a snapshot");
        Qcow2Snapshot snapshot = FindSnapshot(name);
        lock (_metadata.Sync)
            _metadata.ShowL1(ReadL1(snapshot));
        Volatile.Write(ref _size, snapshot.Length);
    }

    /// <summary>Gives up everything that the image itself has, so that it shows its backing image.</summary>
    internal void MakeEmpty()
    {
        CheckWritable();
        using RangeLock.Holder holder = _ranges.Enter(0, ulong.MaxValue, isExclusive: true);
        Recount(() =>
        {
            ulong[] old = _metadata.L1;
            _metadata.ReplaceL1(new ulong[old.Length], _header.Size);
            DropReferences(old);
        });
    }

    /// <summary>Changes what image lies behind this one. The bytes of both must agree where this one has none.</summary>
    /// <param name="backing">Its name, relative to this image's directory; null for none.</param>
    /// <param name="format">Its format.</param>
    internal void ChangeBacking(string? backing, DiskFormat? format)
    {
        CheckWritable();
        _metadata.Commit();
        (_header.BackingName, _header.BackingFormat) = (backing, format?.GetName());
        byte[] bytes = _header.Serialize(Name);
        // All but zeros at the end: a kill tears no write inside a page.
        _file.Write(0, bytes.AsMemory(0, Math.Min(bytes.Length, Math.Max(CachedTable.Granule, bytes.AsSpan().LastIndexOfAnyExcept((byte)0) + 1))));
        _file.Sync();
    }

    private Qcow2Snapshot FindSnapshot(string name)
    {
        IReadOnlyList<Qcow2Snapshot> snapshots = Snapshots;
        return snapshots.FirstOrDefault(s => s.Name == name) ?? snapshots.FirstOrDefault(s => s.Id == name)
            ?? throw new DiskImageException($"{Name}: there is no snapshot \"{name}\"; {(snapshots.Count == 0 ? "the image has none" : $"there are {string.Join(", ", snapshots.Select(s => s.Name))}")}");
    }

    private ulong[] ReadL1(Qcow2Snapshot snapshot)
    {
        if (snapshot.L1Entries * 8UL > Qcow2Features.MaximumL1Bytes)
            throw new ImageDamageException($"snapshot {snapshot.Id} has an L1 table of {snapshot.L1Entries} entries");
        return _metadata.ReadL1(snapshot.L1Offset, snapshot.L1Entries);
    }

    /// <summary>Runs what changes counts and tables in several steps, between which they don't fit each other.</summary>
    private void Recount(Action action) => Watch(() =>
    {
        _metadata.Commit();
        _metadata.KeepsDirtyBit = true;
        _metadata.SetIncompatible(Qcow2Features.Dirty, true);
        action();
        _metadata.Commit();
        _metadata.KeepsDirtyBit = false;
    });

    private void AddReferences(ulong[] l1) => VisitTables(l1, (cluster) => _ = _metadata.Refcounts.Add(cluster, 1));

    private void DropReferences(ulong[] l1)
    {
        _decompressed.Clear();
        _compressedEnd = 0;
        VisitTables(l1, (cluster) => _metadata.Free(cluster, true));
    }

    private void VisitTables(ulong[] l1, Action<ulong> visit)
    {
        foreach (ulong entry in l1)
        {
            if ((entry & Qcow2Features.OffsetMask) == 0)
                continue;
            lock (_metadata.Sync)
            {
                CachedTable table = _metadata.GetL2(entry);
                for (int i = 0; i < _header.L2Entries; i++)
                    VisitClusters(table.GetEntry(i), visit);
                visit(table.Offset >> _header.ClusterBits);
            }

            CommitUnderPressure();
        }
    }

    private void VisitClusters(ulong entry, Action<ulong> visit)
    {
        if ((entry & Qcow2Features.Compressed) != 0)
        {
            (ulong offset, int length) = CompressedPlace(entry);
            for (ulong cluster = offset >> _header.ClusterBits; cluster <= (offset + (ulong)length - 1) >> _header.ClusterBits; cluster++)
                visit(cluster);
        }
        else if ((entry & Qcow2Features.OffsetMask) != 0)
        {
            visit((entry & Qcow2Features.OffsetMask) >> _header.ClusterBits);
        }
    }

    /// <summary>Brings bit 63 of the active tables' entries in line with the counts.</summary>
    private void UpdateCopied()
    {
        for (int l1 = 0; l1 < _metadata.L1.Length; l1++)
        {
            lock (_metadata.Sync)
            {
                ulong entry = _metadata.L1[l1];
                if ((entry & Qcow2Features.OffsetMask) == 0)
                    continue;
                CachedTable table = _metadata.GetL2(entry);
                for (int i = 0; i < _header.L2Entries; i++)
                {
                    ulong data = table.GetEntry(i);
                    if ((data & Qcow2Features.Compressed) == 0 && (data & Qcow2Features.OffsetMask) != 0 && Mended(data) is ulong right && right != data)
                        _metadata.SetL2(table, i, right);
                }

                if (Mended(entry) is ulong rightEntry && rightEntry != entry)
                    _metadata.SetL1(l1, rightEntry);
            }

            CommitUnderPressure();
        }
    }

    private ulong Mended(ulong entry) => _metadata.Refcounts.Get((entry & Qcow2Features.OffsetMask) >> _header.ClusterBits) == 1
        ? entry | Qcow2Features.Copied
        : entry & ~Qcow2Features.Copied;
}
