using System.Buffers.Binary;
using Doppel.Devices.Storage.Images;

namespace Doppel.Devices.Storage.Qcow2;

/// <summary>
/// How often each cluster of the file is used (docs/interop/qcow2, "Host cluster management"), and which are free. Used
/// under the image's lock.
/// <para>
/// A cluster is first reserved, which no file knows, and counted only when something refers to it: so a commit never
/// writes the count of a cluster that nothing in the file uses. One that is given up is counted down after the reference
/// has gone from the file, and used again only after that is durable.
/// </para>
/// </summary>
internal sealed class Refcounts
{
    private const int RememberedFree = 65536;
    private readonly Qcow2Header _header;
    private readonly TableCache _blocks;
    private readonly HashSet<ulong> _reserved = [];
    private readonly HashSet<ulong> _retiring = [];
    private readonly SortedSet<ulong> _free = [];
    private readonly HashSet<int> _dirtyEntries = [];
    private ulong[] _table;
    private ulong _next;
    private ulong _end;

    internal Refcounts(ImageFile file, Qcow2Header header, TableCache blocks)
    {
        _header = header;
        _blocks = blocks;
        byte[] bytes = file.Read(header.RefcountTableOffset, (int)(header.RefcountTableClusters << header.ClusterBits));
        _table = new ulong[bytes.Length / 8];
        for (int i = 0; i < _table.Length; i++)
            _table[i] = BinaryPrimitives.ReadUInt64BigEndian(bytes.AsSpan(i * 8)) & ~0x1FFUL;
        _end = (file.Length + (ulong)header.ClusterSize - 1) >> header.ClusterBits;
    }

    /// <summary>Clusters whose counts one block holds, as a power of two.</summary>
    internal int BlockBits => _header.ClusterBits + 3 - _header.RefcountOrder;

    /// <summary>The largest count.</summary>
    internal ulong Maximum => _header.RefcountOrder == 6 ? ulong.MaxValue : (1UL << (1 << _header.RefcountOrder)) - 1;

    /// <summary>Offsets of the blocks; 0 where there is none.</summary>
    internal ReadOnlySpan<ulong> Table => _table;

    /// <summary>The first cluster after all that are used.</summary>
    internal ulong End => _end;

    /// <summary>True when the table no longer fits where it lies in the file.</summary>
    internal bool HasOutgrown => (ulong)_table.Length * 8 > (ulong)_header.RefcountTableClusters << _header.ClusterBits;

    internal bool IsDirty => _blocks.IsDirty || _dirtyEntries.Count > 0 || HasOutgrown;

    /// <summary>The count of a cluster.</summary>
    internal ulong Get(ulong cluster)
    {
        ulong index = cluster >> BlockBits;
        if (index >= (ulong)_table.Length || _table[index] == 0)
            return 0;
        return Get(_blocks.Get(_table[index]).Data, _header.RefcountOrder, (int)(cluster & ((1UL << BlockBits) - 1)));
    }

    /// <summary>Reserves clusters that lie one after the other.</summary>
    /// <param name="wanted">At most so many.</param>
    /// <param name="count">How many they are; at least 1.</param>
    /// <param name="isPristine">True when the file has never had anything there: it reads as zeros.</param>
    /// <returns>The first.</returns>
    internal ulong Reserve(int wanted, out int count, out bool isPristine)
    {
        ulong first = TakeFirst();
        count = 1;
        while (count < wanted && IsFree(first + (ulong)count) && (first + (ulong)count) >> BlockBits == first >> BlockBits)
            Take(first + (ulong)count++);
        isPristine = first >= _end;
        if (_next == first + 1)
            _next = first + (ulong)count;
        _end = Math.Max(_end, first + (ulong)count);
        return first;
    }

    /// <summary>Gives reserved clusters back that nothing refers to.</summary>
    internal void Unreserve(ulong first, int count)
    {
        for (ulong cluster = first; cluster < first + (ulong)count; cluster++)
        {
            _ = _reserved.Remove(cluster);
            Remember(cluster);
        }
    }

    /// <summary>Counts a reserved cluster as used once.</summary>
    internal void Use(ulong cluster)
    {
        _ = _reserved.Remove(cluster);
        Set(cluster, 1);
    }

    /// <summary>Changes the count of a cluster that is used.</summary>
    /// <returns>The new count.</returns>
    /// <exception cref="ImageDamageException">It would be too large or below 0.</exception>
    internal ulong Add(ulong cluster, int change)
    {
        ulong count = Get(cluster);
        if (change < 0 ? count < (ulong)-change : Maximum - count < (ulong)change)
            throw new ImageDamageException($"cluster {cluster} is used {count} times, which can't change by {change}");
        count = change < 0 ? count - (ulong)-change : count + (ulong)change;
        Set(cluster, count);
        return count;
    }

    /// <summary>Counts a cluster down; one that is then unused stays out of use until <see cref="Release"/>.</summary>
    /// <returns>True when it is unused.</returns>
    internal bool Retire(ulong cluster)
    {
        if (Add(cluster, -1) != 0)
            return false;
        _ = _retiring.Add(cluster);
        return true;
    }

    /// <summary>Lets a retired cluster be used again.</summary>
    internal void Release(ulong cluster)
    {
        _ = _retiring.Remove(cluster);
        if (Get(cluster) == 0)
            Remember(cluster);
    }

    /// <summary>
    /// Reserves any number of clusters at the end of the file, one after the other. The blocks that count them, if they
    /// are missing, follow.
    /// </summary>
    internal ulong ReserveAtEnd(int count)
    {
        ulong first = _end;
        for (ulong cluster = first; cluster < first + (ulong)count; cluster++)
        {
            if (!IsFree(cluster))
                first = cluster + 1;
        }

        ulong after = first + (ulong)count;
        var missing = new List<ulong>();
        for (ulong index = first >> BlockBits; index <= (after + (ulong)missing.Count) >> BlockBits; index++)
        {
            if (index >= (ulong)_table.Length || _table[index] == 0)
                missing.Add(index);
        }

        for (ulong cluster = first; cluster < after; cluster++)
            _ = _reserved.Add(cluster);
        _end = after + (ulong)missing.Count;
        for (int i = 0; i < missing.Count; i++)
            AddBlock(missing[i], after + (ulong)i);
        for (int i = 0; i < missing.Count; i++)
            Set(after + (ulong)i, 1);
        return first;
    }

    /// <summary>Makes the table known to lie elsewhere, with all of its present entries.</summary>
    internal void Moved() => _dirtyEntries.Clear();

    /// <summary>The whole table, padded to clusters.</summary>
    internal byte[] SerializeTable(int clusters)
    {
        byte[] bytes = new byte[clusters << _header.ClusterBits];
        for (int i = 0; i < _table.Length; i++)
            BinaryPrimitives.WriteUInt64BigEndian(bytes.AsSpan(i * 8), _table[i]);
        return bytes;
    }

    /// <summary>Copies out the entries that the file doesn't have.</summary>
    internal List<MetadataPiece> TakeDirtyEntries()
    {
        var pieces = new List<MetadataPiece>();
        foreach (int index in _dirtyEntries.Order())
        {
            byte[] bytes = new byte[8];
            BinaryPrimitives.WriteUInt64BigEndian(bytes, _table[index]);
            pieces.Add(new MetadataPiece(null, _header.RefcountTableOffset + ((ulong)index * 8), bytes));
        }

        _dirtyEntries.Clear();
        return pieces;
    }

    /// <summary>Makes entries dirty again whose writing failed.</summary>
    internal void ReturnEntries(List<MetadataPiece> pieces)
    {
        foreach (MetadataPiece piece in pieces)
            _ = _dirtyEntries.Add((int)((piece.Offset - _header.RefcountTableOffset) / 8));
    }

    /// <summary>The count at a place of a block.</summary>
    internal static ulong Get(ReadOnlySpan<byte> block, int order, int index) => order switch
    {
        < 3 => (ulong)(block[index >> (3 - order)] >> ((index & ((1 << (3 - order)) - 1)) << order)) & ((1UL << (1 << order)) - 1),
        3 => block[index],
        4 => BinaryPrimitives.ReadUInt16BigEndian(block[(index * 2)..]),
        5 => BinaryPrimitives.ReadUInt32BigEndian(block[(index * 4)..]),
        _ => BinaryPrimitives.ReadUInt64BigEndian(block[(index * 8)..]),
    };

    /// <summary>Sets the count at a place of a block.</summary>
    /// <returns>The byte that changed.</returns>
    internal static int Set(Span<byte> block, int order, int index, ulong value)
    {
        switch (order)
        {
            case < 3:
                int at = index >> (3 - order), shift = (index & ((1 << (3 - order)) - 1)) << order;
                block[at] = (byte)((block[at] & ~(((1 << (1 << order)) - 1) << shift)) | ((int)value << shift));
                return at;
            case 3:
                block[index] = (byte)value;
                return index;
            case 4:
                BinaryPrimitives.WriteUInt16BigEndian(block[(index * 2)..], (ushort)value);
                return index * 2;
            case 5:
                BinaryPrimitives.WriteUInt32BigEndian(block[(index * 4)..], (uint)value);
                return index * 4;
            default:
                BinaryPrimitives.WriteUInt64BigEndian(block[(index * 8)..], value);
                return index * 8;
        }
    }

    private void Set(ulong cluster, ulong count)
    {
        ulong index = cluster >> BlockBits;
        if (index >= (ulong)_table.Length || _table[index] == 0)
            throw new ImageDamageException($"cluster {cluster} is used, but nothing counts it");
        CachedTable block = _blocks.Get(_table[index]);
        block.MarkDirty(Set(block.Data, _header.RefcountOrder, (int)(cluster & ((1UL << BlockBits) - 1)), count));
        _blocks.NoteDirty(block);
    }

    private bool IsFree(ulong cluster) => Get(cluster) == 0 && !_reserved.Contains(cluster) && !_retiring.Contains(cluster);

    private void Take(ulong cluster)
    {
        _ = _free.Remove(cluster);
        _ = _reserved.Add(cluster);
    }

    private ulong TakeFirst()
    {
        while (_free.Count > 0)
        {
            ulong known = _free.Min;
            _ = _free.Remove(known);
            if (IsFree(known))
            {
                _ = _reserved.Add(known);
                return known;
            }
        }

        while (true)
        {
            ulong index = _next >> BlockBits;
            if (index >= (ulong)_table.Length || _table[index] == 0)
            {
                // The block counts itself: it is the first cluster of those that it counts.
                ulong place = index << BlockBits;
                AddBlock(index, place);
                Set(place, 1);
                _end = Math.Max(_end, place + 1);
                _next = place + 1;
            }

            ulong cluster = _next++;
            if (IsFree(cluster))
            {
                _ = _reserved.Add(cluster);
                return cluster;
            }
        }
    }

    private void AddBlock(ulong index, ulong cluster)
    {
        if (index >= (ulong)_table.Length)
        {
            if ((index + 1) * 8 > Qcow2Features.MaximumRefcountTableBytes)
                throw new ImageDamageException("the file has become too large for its cluster size");
            int perCluster = _header.ClusterSize / 8;
            Array.Resize(ref _table, ((int)(Math.Max(index + 1, (ulong)_table.Length * 3 / 2) + (ulong)perCluster - 1) / perCluster) * perCluster);
        }

        _table[index] = cluster << _header.ClusterBits;
        _ = _dirtyEntries.Add((int)index);
        _ = _blocks.Add(_table[index], new byte[_header.ClusterSize]);
    }

    private void Remember(ulong cluster)
    {
        if (_free.Count < RememberedFree)
            _ = _free.Add(cluster);
        else
            _next = Math.Min(_next, cluster);
    }
}
