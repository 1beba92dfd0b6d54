using System.Buffers.Binary;
using Doppel.Devices.Storage.Images;

namespace Doppel.Devices.Storage.Qcow2;

/// <summary>
/// The header, tables and counts of an open qcow2 image, and the order in which their changes reach the file. Everything
/// but <see cref="Commit"/> is used with <see cref="Sync"/> held.
/// <para>
/// Changes stay in memory until a commit. A commit writes what nothing refers to yet (data is already there, and new L2
/// tables), makes that durable, then writes counts, then what refers to it, then the counts of what isn't referred to any
/// more, and makes that durable, too. So whenever the process is killed or the host fails, the file's tables refer only
/// to clusters that are whole. A kill between the writes of one commit leaves at worst clusters that are counted and not
/// used. A host's failure may keep any of those writes from the medium; version 3 has the dirty bit for that, which is
/// durable before the first such write, and makes whoever opens the image next count anew. In version 2 counts are made
/// durable before what refers to their clusters, and lowered after the reference is durably gone.
/// </para>
/// </summary>
internal sealed class Qcow2Metadata
{
    private const int CacheBytes = 32 << 20;
    private const int BlockCacheBytes = 8 << 20;
    private const int FreedLimit = 1 << 20;
    private readonly object _commitLock = new();
    private readonly HashSet<int> _dirtyL1 = [];
    private List<(ulong Cluster, bool IsPunched)> _freed = [];
    private List<ulong> _retired = [];

    internal Qcow2Metadata(ImageFile file, Qcow2Header header)
    {
        File = file;
        Header = header;
        L2 = new TableCache(file, header.ClusterSize, Math.Max(16, CacheBytes >> header.ClusterBits));
        Blocks = new TableCache(file, header.ClusterSize, Math.Max(8, BlockCacheBytes >> header.ClusterBits));
        Refcounts = new Refcounts(file, header, Blocks);
        L1 = ReadL1(header.L1Offset, header.L1Entries);
    }

    internal ImageFile File { get; }

    internal Qcow2Header Header { get; }

    internal Lock Sync { get; } = new();

    internal TableCache L2 { get; }

    internal TableCache Blocks { get; }

    internal Refcounts Refcounts { get; }

    /// <summary>The active L1 table.</summary>
    internal ulong[] L1 { get; private set; }

    /// <summary>True while counts don't fit the tables; an image that is closed so is counted anew when it is opened next.</summary>
    internal bool KeepsDirtyBit { get; set; }

    /// <summary>True when so much is dirty that whoever made it so must commit.</summary>
    internal bool IsPressed => L2.IsPressed || Blocks.IsPressed || _freed.Count > FreedLimit;

    private bool HasDirtyBit => Header.Version >= 3;

    private bool IsLazy => (Header.Compatible & Qcow2Features.LazyRefcounts) != 0;

    internal ulong[] ReadL1(ulong offset, uint entries)
    {
        byte[] bytes = File.Read(offset, (int)(entries * 8));
        var table = new ulong[entries];
        for (int i = 0; i < table.Length; i++)
            table[i] = BinaryPrimitives.ReadUInt64BigEndian(bytes.AsSpan(i * 8));
        return table;
    }

    internal void SetL1(int index, ulong value)
    {
        L1[index] = value;
        _ = _dirtyL1.Add(index * 8 / CachedTable.Granule);
    }

    internal void SetL2(CachedTable table, int index, ulong value)
    {
        table.SetEntry(index, value);
        L2.NoteDirty(table);
    }

    /// <summary>The L2 table of an L1 entry.</summary>
    /// <exception cref="ImageDamageException">The entry points to no place where a table can be.</exception>
    internal CachedTable GetL2(ulong entry) => L2.Get(CheckOffset(entry & Qcow2Features.OffsetMask, "an L2 table"));

    /// <summary>The L2 table for an L1 index, such that it may be changed: made or copied if need be.</summary>
    internal CachedTable GetWritableL2(int index)
    {
        ulong entry = L1[index];
        if ((entry & Qcow2Features.Copied) != 0)
            return GetL2(entry);
        byte[] data = entry == 0 ? new byte[Header.ClusterSize] : (byte[])GetL2(entry).Data.Clone();
        ulong cluster = Refcounts.Reserve(1, out _, out _);
        Refcounts.Use(cluster);
        CachedTable table = L2.Add(cluster << Header.ClusterBits, data);
        SetL1(index, table.Offset | Qcow2Features.Copied);
        if (entry != 0)
            Free((entry & Qcow2Features.OffsetMask) >> Header.ClusterBits, false);
        return table;
    }

    /// <summary>Gives up one reference to a cluster, once the file has none.</summary>
    /// <param name="cluster">The cluster.</param>
    /// <param name="isPunched">True when its space goes back to the host.</param>
    internal void Free(ulong cluster, bool isPunched) => _freed.Add((cluster, isPunched));

    /// <summary>Checks where a table or cluster is said to be.</summary>
    /// <exception cref="ImageDamageException">It can't be there.</exception>
    internal ulong CheckOffset(ulong offset, string what)
    {
        if ((offset & ((ulong)Header.ClusterSize - 1)) != 0 || offset == 0)
            throw new ImageDamageException($"{what} is said to be at 0x{offset:x}, which is no cluster's beginning");
        return offset;
    }

    /// <summary>Shows another L1 table instead of the active one, of an image that isn't written.</summary>
    internal void ShowL1(ulong[] table) => L1 = table;

    /// <summary>Changes the disk's length, durably.</summary>
    internal void SetSize(ulong size)
    {
        lock (Sync)
        {
            Header.Size = size;
            File.Write(24, Header.GeometryFields());
        }

        File.Sync();
    }

    /// <summary>Replaces the table of snapshots, durably and at once.</summary>
    internal void ReplaceSnapshots(List<Qcow2Snapshot> snapshots)
    {
        int oldClusters = ClustersOf(SnapshotTable.Read(File, Header).Length);
        ulong oldOffset = Header.SnapshotsOffset;
        byte[] bytes = SnapshotTable.Serialize(snapshots);
        ulong first = bytes.Length == 0 ? 0 : AllocateAtEnd(ClustersOf(bytes.Length));
        Commit();
        if (bytes.Length > 0)
            File.Write(first << Header.ClusterBits, bytes);
        File.Sync();
        lock (Sync)
        {
            (Header.SnapshotCount, Header.SnapshotsOffset) = ((uint)snapshots.Count, first << Header.ClusterBits);
            File.Write(60, Header.SnapshotFields());
            for (int i = 0; i < oldClusters; i++)
                Free((oldOffset >> Header.ClusterBits) + (ulong)i, false);
        }

        File.Sync();
    }

    /// <summary>Replaces the active L1 table and the disk's length, durably and at once.</summary>
    internal void ReplaceL1(ulong[] table, ulong size)
    {
        Commit();
        uint oldEntries = Header.L1Entries;
        ulong oldOffset = Header.L1Offset;
        ulong first = AllocateAtEnd(ClustersOf(table.Length * 8L));
        Commit();
        File.Write(first << Header.ClusterBits, SerializeL1(table));
        File.Sync();
        lock (Sync)
        {
            (Header.L1Entries, Header.L1Offset, Header.Size) = ((uint)table.Length, first << Header.ClusterBits, size);
            L1 = table;
            _dirtyL1.Clear();
            File.Write(24, Header.GeometryFields());
            for (int i = 0; i < ClustersOf(oldEntries * 8L); i++)
                Free((oldOffset >> Header.ClusterBits) + (ulong)i, false);
        }

        File.Sync();
    }

    internal byte[] SerializeL1(ulong[] table)
    {
        byte[] bytes = new byte[ClustersOf(table.Length * 8L) << Header.ClusterBits];
        for (int i = 0; i < table.Length; i++)
            BinaryPrimitives.WriteUInt64BigEndian(bytes.AsSpan(i * 8), table[i]);
        return bytes;
    }

    /// <summary>Takes clusters for a table that lies in one piece.</summary>
    internal ulong AllocateAtEnd(int count)
    {
        lock (Sync)
        {
            ulong first = Refcounts.ReserveAtEnd(count);
            for (int i = 0; i < count; i++)
                Refcounts.Use(first + (ulong)i);
            return first;
        }
    }

    internal int ClustersOf(long bytes) => (int)((bytes + Header.ClusterSize - 1) >> Header.ClusterBits);

    /// <summary>Changes a feature bit in memory and in the file.</summary>
    internal void SetIncompatible(ulong bit, bool isSet)
    {
        lock (Sync)
        {
            ulong wanted = isSet ? Header.Incompatible | bit : Header.Incompatible & ~bit;
            if (Header.Version < 3 || wanted == Header.Incompatible)
                return;
            Header.Incompatible = wanted;
            File.Write(72, Header.FeatureFields());
        }
    }

    /// <summary>Brings everything to the file, durably: what was written before this began survives what comes.</summary>
    /// <param name="isFinal">True before the image is closed: also what lazy refcounts keep back.</param>
    /// <exception cref="StorageFullException">The host has no room; nothing is lost, and it can be tried again.</exception>
    internal void Commit(bool isFinal = false)
    {
        lock (_commitLock)
        {
            var commit = new Qcow2Commit();
            lock (Sync)
                Take(commit, isFinal);
            try
            {
                Write(commit, isFinal);
            }
            catch
            {
                lock (Sync)
                    Return(commit, false);
                throw;
            }

            lock (Sync)
            {
                Return(commit, true);
                foreach (ulong cluster in commit.Retired)
                    Refcounts.Release(cluster);
            }
        }
    }

    /// <summary>Commits until nothing is kept back, and says in the header that the counts are right.</summary>
    internal void Close()
    {
        Commit(isFinal: true);
        while (Refcounts.IsDirty || _freed.Count > 0)
            Commit(isFinal: true);
        if ((Header.Incompatible & Qcow2Features.Dirty) == 0 || KeepsDirtyBit)
            return;
        SetIncompatible(Qcow2Features.Dirty, false);
        File.Sync();
    }

    private void Take(Qcow2Commit commit, bool isFinal)
    {
        if (!IsLazy || isFinal || Blocks.IsPressed || Refcounts.HasOutgrown)
        {
            if (Refcounts.HasOutgrown)
                MoveRefcountTable(commit);
            Blocks.TakeDirty(commit.Counts, commit.Counts);
            commit.CountEntries.AddRange(commit.MovedTable is null ? Refcounts.TakeDirtyEntries() : []);
        }

        L2.TakeDirty(commit.NewTables, commit.Tables);
        foreach (int granule in _dirtyL1)
        {
            int from = granule * CachedTable.Granule / 8, to = Math.Min(L1.Length, from + (CachedTable.Granule / 8));
            byte[] bytes = new byte[(to - from) * 8];
            for (int i = from; i < to; i++)
                BinaryPrimitives.WriteUInt64BigEndian(bytes.AsSpan((i - from) * 8), L1[i]);
            commit.L1.Add(new MetadataPiece(null, Header.L1Offset + ((ulong)from * 8), bytes));
        }

        _dirtyL1.Clear();
        (commit.Freed, _freed) = (_freed, []);
        (commit.Retired, _retired) = (_retired, []);
    }

    private void MoveRefcountTable(Qcow2Commit commit)
    {
        int clusters;
        ulong first;
        do
        {
            clusters = ClustersOf(Refcounts.Table.Length * 8L);
            first = Refcounts.ReserveAtEnd(clusters);
            for (int i = 0; i < clusters; i++)
                Refcounts.Use(first + (ulong)i);
            if (ClustersOf(Refcounts.Table.Length * 8L) > clusters)
            {
                for (int i = 0; i < clusters; i++)
                    Free(first + (ulong)i, false);
                clusters = 0;
            }
        }
        while (clusters == 0);
        commit.MovedTable = Refcounts.SerializeTable(clusters);
        commit.MovedTo = first;
        Refcounts.Moved();
    }

    private void Write(Qcow2Commit commit, bool isFinal)
    {
        if (commit.IsEmpty)
        {
            File.Sync();
            return;
        }

        if (HasDirtyBit)
            SetIncompatible(Qcow2Features.Dirty, true);
        WritePieces(commit.NewTables);
        if (!HasDirtyBit)
            WriteCounts(commit);
        File.Sync();
        if (HasDirtyBit)
            WriteCounts(commit);
        WritePieces(commit.Tables);
        WritePieces(commit.L1);
        lock (Sync)
        {
            foreach ((ulong cluster, bool isPunched) in commit.Freed)
            {
                if (!Refcounts.Retire(cluster))
                    continue;
                commit.Retired.Add(cluster);
                L2.Remove(cluster << Header.ClusterBits);
                if (isPunched)
                    commit.Punched.Add(cluster);
            }

            commit.Freed.Clear();
            if (HasDirtyBit && (!IsLazy || isFinal))
                Blocks.TakeDirty(commit.CountsAfter, commit.CountsAfter);
        }

        WritePieces(commit.CountsAfter);
        File.Sync();
        Punch(commit.Punched);
        if (HasDirtyBit)
            return;
        lock (Sync)
            Blocks.TakeDirty(commit.CountsAfter, commit.CountsAfter);
        WritePieces(commit.CountsAfter);
    }

    private void WriteCounts(Qcow2Commit commit)
    {
        WritePieces(commit.Counts);
        if (commit.MovedTable is byte[] table)
        {
            File.Sync();
            File.Write(commit.MovedTo << Header.ClusterBits, table);
            File.Sync();
            lock (Sync)
            {
                ulong oldOffset = Header.RefcountTableOffset;
                uint oldClusters = Header.RefcountTableClusters;
                (Header.RefcountTableOffset, Header.RefcountTableClusters) = (commit.MovedTo << Header.ClusterBits, (uint)(table.Length >> Header.ClusterBits));
                File.Write(48, Header.RefcountFields());
                commit.MovedTable = null;
                for (uint i = 0; i < oldClusters; i++)
                    Free((oldOffset >> Header.ClusterBits) + i, false);
            }
        }
        else if (commit.CountEntries.Count > 0)
        {
            if (!HasDirtyBit)
                File.Sync();
            WritePieces(commit.CountEntries);
        }
    }

    private void WritePieces(List<MetadataPiece> pieces)
    {
        pieces.Sort((a, b) => a.Offset.CompareTo(b.Offset));
        foreach (MetadataPiece piece in pieces)
            File.Write(piece.Offset, piece.Data);
    }

    private void Punch(List<ulong> clusters)
    {
        clusters.Sort();
        try
        {
            for (int i = 0; i < clusters.Count;)
            {
                int end = i + 1;
                while (end < clusters.Count && clusters[end] == clusters[end - 1] + 1)
                    end++;
                if (!File.TryPunchHole(clusters[i] << Header.ClusterBits, (ulong)(end - i) << Header.ClusterBits))
                    return;
                i = end;
            }
        }
        catch (IOException)
        {
            // Space that the host keeps is no error of the guest's flush.
        }
    }

    private void Return(Qcow2Commit commit, bool isWritten)
    {
        Blocks.Return(commit.Counts, isWritten);
        Blocks.Return(commit.CountsAfter, isWritten);
        L2.Return(commit.NewTables, isWritten);
        L2.Return(commit.Tables, isWritten);
        if (isWritten)
            return;
        Refcounts.ReturnEntries(commit.CountEntries);
        foreach (MetadataPiece piece in commit.L1)
            _ = _dirtyL1.Add((int)((piece.Offset - Header.L1Offset) / CachedTable.Granule));
        if (commit.MovedTable is byte[] table)
        {
            for (int i = 0; i < table.Length >> Header.ClusterBits; i++)
                Free(commit.MovedTo + (ulong)i, false);
        }

        _freed.AddRange(commit.Freed);
        _retired.AddRange(commit.Retired);
    }
}
