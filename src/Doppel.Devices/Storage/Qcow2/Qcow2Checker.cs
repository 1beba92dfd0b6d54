using System.Buffers.Binary;
using Doppel.Devices.Storage.Images;

namespace Doppel.Devices.Storage.Qcow2;

/// <summary>Counts the uses of each cluster by walking all tables, and compares with what the image has counted.</summary>
internal sealed class Qcow2Checker
{
    private const int ListedErrors = 100;
    private readonly ImageFile _file;
    private readonly Qcow2Header _header;
    private readonly List<string> _errors = [];
    private readonly ulong _fileClusters;
    private uint[] _uses;
    private long _errorCount;
    private long _allocated;
    private long _compressed;
    private long _fragmented;
    private ulong _lastHost;

    internal Qcow2Checker(ImageFile file, Qcow2Header header)
    {
        _file = file;
        _header = header;
        _fileClusters = (file.Length + (ulong)header.ClusterSize - 1) >> header.ClusterBits;
        _uses = new uint[_fileClusters + 1];
    }

    /// <summary>How often each cluster is used, after <see cref="CountReferences"/>.</summary>
    internal uint[] Uses => _uses;

    /// <summary>Errors other than counts, which no new counting would mend.</summary>
    internal long StructuralErrors { get; private set; }

    internal Qcow2CheckResult Run()
    {
        CountReferences(countsRefcounts: true);
        StructuralErrors = _errorCount;
        (ulong[] table, Dictionary<ulong, byte[]> blocks) = ReadCounts();
        long leaks = Compare(table, blocks);
        CheckCopied(table, blocks);
        ulong end = (ulong)Array.FindLastIndex(_uses, u => u != 0) + 1;
        return new Qcow2CheckResult
        {
            Errors = _errors,
            ErrorCount = _errorCount,
            Leaks = leaks,
            AllocatedClusters = _allocated,
            CompressedClusters = _compressed,
            FragmentedClusters = _fragmented,
            TotalClusters = (long)((_header.Size + (ulong)_header.ClusterSize - 1) >> _header.ClusterBits),
            EndOffset = end << _header.ClusterBits,
            IsMarkedDirty = (_header.Incompatible & Qcow2Features.Dirty) != 0,
            IsMarkedCorrupt = (_header.Incompatible & Qcow2Features.Corrupt) != 0,
        };
    }

    /// <summary>Counts uses by the header, the L1 and L2 tables, snapshots and, if wanted, the refcount structure itself.</summary>
    internal void CountReferences(bool countsRefcounts)
    {
        Use(0, 1, "the header");
        CountL1(_header.L1Offset, _header.L1Entries, isActive: true, "the active L1 table");
        try
        {
            (List<Qcow2Snapshot> snapshots, int length) = SnapshotTable.Read(_file, _header);
            if (length > 0)
                Use(_header.SnapshotsOffset, (ulong)length, "the snapshot table");
            foreach (Qcow2Snapshot snapshot in snapshots)
            {
                if (snapshot.L1Entries * 8UL > Qcow2Features.MaximumL1Bytes || (snapshot.L1Offset & ((ulong)_header.ClusterSize - 1)) != 0)
                    Error($"snapshot {snapshot.Id} has an L1 table of {snapshot.L1Entries} entries at 0x{snapshot.L1Offset:x}");
                else
                    CountL1(snapshot.L1Offset, snapshot.L1Entries, isActive: false, $"the L1 table of snapshot {snapshot.Id}");
            }
        }
        catch (ImageDamageException e)
        {
            Error(e.Message);
        }

        CountBitmaps();
        if (!countsRefcounts)
            return;
        Use(_header.RefcountTableOffset, (ulong)_header.RefcountTableClusters << _header.ClusterBits, "the refcount table");
        foreach (ulong block in ReadTable(_header.RefcountTableOffset, (int)(_header.RefcountTableClusters << (_header.ClusterBits - 3))))
        {
            if (block != 0)
                _ = UseTable(block, "a refcount block");
        }
    }

    private static bool IsAligned(ulong offset, int bits) => (offset & ((1UL << bits) - 1)) == 0;

    private void CountL1(ulong offset, uint entries, bool isActive, string what)
    {
        if (entries == 0)
            return;
        Use(offset, entries * 8UL, what);
        ulong[] l1 = ReadTable(offset, (int)entries);
        for (int i = 0; i < l1.Length; i++)
        {
            ulong place = l1[i] & Qcow2Features.OffsetMask;
            if (place == 0 || !UseTable(place, $"the L2 table of entry {i} of {what}"))
                continue;
            foreach (ulong entry in ReadTable(place, _header.L2Entries))
                CountEntry(entry, isActive);
        }
    }

    private void CountEntry(ulong entry, bool isActive)
    {
        if ((entry & Qcow2Features.Compressed) != 0)
        {
            int shift = 62 - (_header.ClusterBits - 8);
            ulong offset = entry & ((1UL << shift) - 1) & 0x00FF_FFFF_FFFF_FFFF;
            ulong sectors = ((entry & ~(Qcow2Features.Copied | Qcow2Features.Compressed)) >> shift) + 1;
            Use(offset, (sectors * IBlockBackend.SectorSize) - (offset % IBlockBackend.SectorSize), "a compressed cluster");
            if ((entry & Qcow2Features.Copied) != 0)
                Error($"the compressed cluster at 0x{offset:x} is said to be used once");
            if (isActive)
            {
                _allocated++;
                _compressed++;
                _fragmented++;
            }

            return;
        }

        ulong place = entry & Qcow2Features.OffsetMask;
        if (place == 0)
            return;
        if (!IsAligned(place, _header.ClusterBits))
        {
            Error($"a data cluster is said to be at 0x{place:x}, which is no cluster's beginning");
            return;
        }

        Use(place, (ulong)_header.ClusterSize, "a data cluster");
        if (!isActive || (entry & Qcow2Features.ReadsZero) != 0)
            return;
        _allocated++;
        if (_lastHost != 0 && place != _lastHost + (ulong)_header.ClusterSize)
            _fragmented++;
        _lastHost = place;
    }

    private void CountBitmaps()
    {
        byte[]? extension = _header.Extensions.FirstOrDefault(e => e.Type == Qcow2Features.ExtensionBitmaps).Data;
        if (extension is not { Length: >= 24 } || (_header.Autoclear & Qcow2Features.Bitmaps) == 0)
            return;
        ulong size = BinaryPrimitives.ReadUInt64BigEndian(extension.AsSpan(8)), offset = BinaryPrimitives.ReadUInt64BigEndian(extension.AsSpan(16));
        if (size > 64 << 20 || !Use(offset, size, "the bitmap directory"))
            return;
        byte[] directory = _file.Read(offset, (int)size);
        for (int at = 0; at + 24 <= directory.Length;)
        {
            ulong table = BinaryPrimitives.ReadUInt64BigEndian(directory.AsSpan(at));
            uint entries = BinaryPrimitives.ReadUInt32BigEndian(directory.AsSpan(at + 8));
            int length = 24 + BinaryPrimitives.ReadUInt16BigEndian(directory.AsSpan(at + 18)) + (int)Math.Min(BinaryPrimitives.ReadUInt32BigEndian(directory.AsSpan(at + 20)), int.MaxValue / 2);
            if (entries > 8 << 20 || !Use(table, entries * 8UL, "a bitmap's table"))
                return;
            foreach (ulong entry in ReadTable(table, (int)entries))
            {
                if ((entry & Qcow2Features.OffsetMask) != 0)
                    Use(entry & Qcow2Features.OffsetMask, (ulong)_header.ClusterSize, "a bitmap");
            }

            at += (length + 7) & ~7;
        }
    }

    private long Compare(ulong[] table, Dictionary<ulong, byte[]> blocks)
    {
        long leaks = 0;
        int bits = _header.ClusterBits + 3 - _header.RefcountOrder;
        ulong end = Math.Max((ulong)_uses.Length, (ulong)table.Length << bits);
        for (ulong cluster = 0; cluster < end; cluster++)
        {
            ulong index = cluster >> bits;
            if (cluster >= (ulong)_uses.Length && (index >= (ulong)table.Length || table[index] == 0))
            {
                cluster = ((index + 1) << bits) - 1;
                continue;
            }

            ulong counted = CountOf(table, blocks, cluster);
            ulong used = cluster < (ulong)_uses.Length ? _uses[cluster] : 0;
            if (counted < used)
                Error($"cluster {cluster} is used {used} times and counted {counted} times");
            else if (counted > used)
                leaks++;
        }

        return leaks;
    }

    private void CheckCopied(ulong[] table, Dictionary<ulong, byte[]> blocks)
    {
        ulong[] l1 = ReadTable(_header.L1Offset, (int)_header.L1Entries);
        foreach (ulong entry in l1)
        {
            ulong place = entry & Qcow2Features.OffsetMask;
            if (place == 0 || !IsAligned(place, _header.ClusterBits) || place >> _header.ClusterBits >= (ulong)_uses.Length)
                continue;
            CheckFlag(entry, CountOf(table, blocks, place >> _header.ClusterBits), "L2 table");
            foreach (ulong data in ReadTable(place, _header.L2Entries))
            {
                ulong at = data & Qcow2Features.OffsetMask;
                if ((data & Qcow2Features.Compressed) == 0 && at != 0 && IsAligned(at, _header.ClusterBits))
                    CheckFlag(data, CountOf(table, blocks, at >> _header.ClusterBits), "data cluster");
            }
        }
    }

    private void CheckFlag(ulong entry, ulong count, string what)
    {
        if ((count == 1) != ((entry & Qcow2Features.Copied) != 0))
            Error($"the {what} at 0x{entry & Qcow2Features.OffsetMask:x} is counted {count} times, and its entry says that it is {((entry & Qcow2Features.Copied) != 0 ? "" : "not ")}used once");
    }

    private ulong CountOf(ulong[] table, Dictionary<ulong, byte[]> blocks, ulong cluster)
    {
        int bits = _header.ClusterBits + 3 - _header.RefcountOrder;
        ulong index = cluster >> bits;
        return index < (ulong)table.Length && blocks.TryGetValue(table[index], out byte[]? block)
            ? Refcounts.Get(block, _header.RefcountOrder, (int)(cluster & ((1UL << bits) - 1)))
            : 0;
    }

    private (ulong[] Table, Dictionary<ulong, byte[]> Blocks) ReadCounts()
    {
        ulong[] table = ReadTable(_header.RefcountTableOffset, (int)(_header.RefcountTableClusters << (_header.ClusterBits - 3)));
        var blocks = new Dictionary<ulong, byte[]>();
        foreach (ulong block in table)
        {
            if (block != 0 && IsAligned(block, _header.ClusterBits) && block >> _header.ClusterBits < (ulong)_uses.Length)
                blocks[block] = _file.Read(block, _header.ClusterSize);
        }

        return (table, blocks);
    }

    private bool UseTable(ulong offset, string what)
    {
        if (IsAligned(offset, _header.ClusterBits))
            return Use(offset, (ulong)_header.ClusterSize, what);
        Error($"{what} is said to be at 0x{offset:x}, which is no cluster's beginning");
        return false;
    }

    private bool Use(ulong offset, ulong length, string what)
    {
        if (length == 0)
            return true;
        ulong first = offset >> _header.ClusterBits, last = (offset + length - 1) >> _header.ClusterBits;
        if (last > _fileClusters)
        {
            Error($"{what} at 0x{offset:x} lies beyond the end of the file");
            return false;
        }

        for (ulong cluster = first; cluster <= last; cluster++)
            _uses[cluster]++;
        return true;
    }

    private ulong[] ReadTable(ulong offset, int entries)
    {
        byte[] bytes = _file.Read(offset, entries * 8);
        var table = new ulong[entries];
        for (int i = 0; i < entries; i++)
            table[i] = BinaryPrimitives.ReadUInt64BigEndian(bytes.AsSpan(i * 8));
        return table;
    }

    private void Error(string message)
    {
        _errorCount++;
        if (_errors.Count < ListedErrors)
            _errors.Add(message);
    }
}
