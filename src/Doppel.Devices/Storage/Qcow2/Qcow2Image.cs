using Doppel.Devices.Storage.Images;

namespace Doppel.Devices.Storage.Qcow2;

/// <summary>
/// A qcow2 image, version 2 or 3 (QEMU's docs/interop/qcow2). Reads and writes run in parallel; an operation that changes
/// where clusters lie has those clusters alone. <see cref="Qcow2Metadata"/> says in which order the file changes.
/// </summary>
public sealed partial class Qcow2Image : DiskImage
{
    private readonly ImageFile _file;
    private readonly Qcow2Header _header;
    private readonly Qcow2Metadata _metadata;
    private readonly RangeLock _ranges = new();
    private readonly DecompressedClusters _decompressed = new();
    private DiskImage? _backing;
    private ulong _size;
    private volatile bool _isDamaged;

    private Qcow2Image(ImageFile file, Qcow2Metadata metadata, DiskImage? backing)
        : base(file.Path, file.IsReadOnly)
    {
        _file = file;
        _header = metadata.Header;
        _metadata = metadata;
        _backing = backing;
        _size = metadata.Header.Size;
    }

    /// <inheritdoc/>
    public override DiskFormat Format => DiskFormat.Qcow2;

    /// <inheritdoc/>
    public override ulong Length => (Volatile.Read(ref _size) + IBlockBackend.SectorSize - 1) & ~(ulong)(IBlockBackend.SectorSize - 1);

    /// <inheritdoc/>
    public override DiskImage? Backing => _backing;

    /// <inheritdoc/>
    public override int PreferredBlockSize => ClusterSize;

    /// <inheritdoc/>
    public override int DiscardGranularity => ClusterSize;

    /// <summary>Bytes of a cluster.</summary>
    public int ClusterSize => _header.ClusterSize;

    internal Qcow2Metadata Metadata => _metadata;

    internal Qcow2Header Header => _header;

    /// <summary>The file, for tools that read what this class doesn't offer.</summary>
    internal ImageFile File => _file;

    /// <summary>Opens an image and what lies behind it. One that was not closed is counted anew if it may be written.</summary>
    /// <param name="file">The file; disposed with the image.</param>
    /// <param name="options">How.</param>
    /// <param name="depth">How many images it lies behind.</param>
    /// <exception cref="DiskImageException">It can't be opened.</exception>
    internal static Qcow2Image Open(ImageFile file, DiskOpenOptions options, int depth = 0)
    {
        Qcow2Header header = Qcow2Header.Read(file);
        if ((header.Incompatible & Qcow2Features.Corrupt) != 0 && !options.IsReadOnly && !options.IsForCheck)
            throw new DiskImageException($"{file.Path}: the image is marked as damaged; \"doppel disk check --repair\" may help, reading is still possible");
        if (!options.IsReadOnly && !options.IsForCheck)
        {
            if ((header.Incompatible & Qcow2Features.Dirty) != 0)
                _ = Qcow2Maintenance.Repair(file, header);
            if (header.Autoclear != 0)
            {
                header.Autoclear = 0;
                file.Write(72, header.FeatureFields());
                file.Sync();
            }
        }

        var metadata = new Qcow2Metadata(file, header);
        DiskImage? backing = header.BackingName is null || options.IsWithoutBacking ? null : OpenBacking(file.Path, header, options, depth);
        return new Qcow2Image(file, metadata, backing);
    }

    /// <summary>Where a backing image is that an image names: relative to the image's own directory.</summary>
    internal static string ResolveBacking(string path, string backing)
    {
        if (backing.StartsWith("json:", StringComparison.Ordinal))
            throw new DiskImageException($"{path}: the backing image is given as JSON, which isn't supported; \"doppel disk rebase\" can name a file");
        if (backing.StartsWith("file:", StringComparison.Ordinal))
            backing = backing["file:".Length..];
        if (Overlays.IsAddress(backing))
            return backing;
        return Path.Combine(Path.GetDirectoryName(Path.GetFullPath(path))!, backing);
    }

    /// <summary>The format that the image says its backing image has; null when it says none.</summary>
    internal DiskFormat? BackingFormat => FormatOf(Name, _header);

    private static DiskFormat? FormatOf(string path, Qcow2Header header) => header.BackingFormat is not string name
        ? null
        : DiskFormats.Find(name) ?? throw new DiskImageException($"{path}: the backing image's format is said to be \"{name}\", which isn't known");

    private static DiskImage OpenBacking(string path, Qcow2Header header, DiskOpenOptions options, int depth)
    {
        DiskFormat? format = FormatOf(path, header);
        string backing = ResolveBacking(path, header.BackingName!);
        try
        {
            return DiskImages.Open(backing, new DiskOpenOptions { Format = format, IsReadOnly = true, IsShared = options.IsShared }, depth + 1);
        }
        catch (DiskImageException e)
        {
            throw new DiskImageException($"{path}: its backing image can't be opened: {e.Message}", e);
        }
    }

    /// <inheritdoc/>
    public override void Read(ulong offset, BufferList buffers)
    {
        using RangeLock.Holder holder = _ranges.Enter(offset, offset + (ulong)buffers.Length, isExclusive: false);
        Watch(() => ReadHeld(offset, buffers));
    }

    /// <inheritdoc/>
    public override bool TryReadNow(ulong offset, BufferList buffers)
    {
        // With the lock held, no cluster that is read can come into other use: that takes a commit, which takes the lock.
        if (!_metadata.Sync.TryEnter())
            return false;
        try
        {
            if (FindMapping(offset, buffers.Length, isCachedOnly: true) is not ClusterMapping mapping || mapping.Length < buffers.Length)
                return false;
            switch (mapping.Kind)
            {
                case ClusterKind.Data:
                    return _file.TryReadCached(mapping.Offset, buffers);
                case ClusterKind.Zero:
                    buffers.Clear();
                    return true;
                case ClusterKind.Unallocated when _backing is null:
                    buffers.Clear();
                    return true;
                case ClusterKind.Unallocated:
                    return offset + (ulong)buffers.Length <= _backing.Length && _backing.TryReadNow(offset, buffers);
                default:
                    return false;
            }
        }
        catch (ImageDamageException)
        {
            return false;
        }
        finally
        {
            _metadata.Sync.Exit();
        }
    }

    /// <inheritdoc/>
    public override void Flush()
    {
        if (IsReadOnly)
            return;
        CheckWritable();
        Watch(() => _metadata.Commit());
    }

    /// <inheritdoc/>
    public override ImageExtent GetExtent(ulong offset, ulong length)
    {
        ClusterMapping mapping;
        lock (_metadata.Sync)
            mapping = Map(offset, (long)Math.Min(length, Length - offset));
        ulong known = (ulong)mapping.Length;
        switch (mapping.Kind)
        {
            case ClusterKind.Zero:
                return new ImageExtent(ExtentKind.Zero, known);
            case ClusterKind.Unallocated when _backing is null || offset >= _backing.Length:
                return new ImageExtent(_header.BackingName is not null && _backing is null ? ExtentKind.Backing : ExtentKind.Zero, known);
            case ClusterKind.Unallocated:
                return new ImageExtent(ExtentKind.Backing, Math.Min(known, _backing.Length - offset));
            default:
                return new ImageExtent(ExtentKind.Data, known);
        }
    }

    /// <inheritdoc/>
    protected override void Dispose(bool disposing)
    {
        try
        {
            if (!IsReadOnly && !_isDamaged)
                _metadata.Close();
        }
        catch (IOException)
        {
            // The dirty bit stays, and what no flush has acknowledged may be lost.
        }
        finally
        {
            _backing?.Dispose();
            _file.Dispose();
        }
    }

    /// <summary>Where the bytes from an offset on lie. With the lock held.</summary>
    internal ClusterMapping Map(ulong offset, long length) => FindMapping(offset, length, isCachedOnly: false)!.Value;

    /// <summary>Reads with the range held.</summary>
    private void ReadHeld(ulong offset, BufferList buffers)
    {
        for (long done = 0; done < buffers.Length;)
        {
            ClusterMapping mapping;
            lock (_metadata.Sync)
                mapping = Map(offset + (ulong)done, buffers.Length - done);
            BufferList part = buffers.Slice(done, mapping.Length);
            switch (mapping.Kind)
            {
                case ClusterKind.Data:
                    _file.Read(mapping.Offset, part);
                    break;
                case ClusterKind.Zero:
                    part.Clear();
                    break;
                case ClusterKind.Unallocated:
                    ReadBacking(offset + (ulong)done, part);
                    break;
                default:
                    byte[] cluster = Decompress(mapping.Entry);
                    int inside = (int)((offset + (ulong)done) & ((ulong)ClusterSize - 1));
                    part.CopyFrom(cluster.AsSpan(inside, (int)mapping.Length));
                    break;
            }

            done += mapping.Length;
        }
    }

    private void ReadBacking(ulong offset, BufferList buffers)
    {
        long there = _backing is null || offset >= _backing.Length ? 0 : (long)Math.Min((ulong)buffers.Length, _backing.Length - offset);
        if (there > 0)
            _backing!.Read(offset, buffers.Slice(0, there));
        if (there < buffers.Length)
            buffers.Slice(there, buffers.Length - there).Clear();
    }

    private byte[] Decompress(ulong entry)
    {
        if (_decompressed.Find(entry) is byte[] known)
            return known;
        (ulong offset, int length) = CompressedPlace(entry);
        byte[] cluster = new byte[ClusterSize];
        ClusterCodec.Decompress(_header.Compression, _file.Read(offset, length), cluster);
        _decompressed.Add(entry, cluster);
        return cluster;
    }

    /// <summary>Where a compressed cluster lies; its last sector may end before that.</summary>
    internal (ulong Offset, int Length) CompressedPlace(ulong entry)
    {
        int sizeShift = 62 - (_header.ClusterBits - 8);
        ulong offset = entry & ((1UL << sizeShift) - 1) & 0x00FF_FFFF_FFFF_FFFF;
        int sectors = (int)(((entry & ~(Qcow2Features.Copied | Qcow2Features.Compressed)) >> sizeShift) + 1);
        return (offset, (sectors * IBlockBackend.SectorSize) - (int)(offset % IBlockBackend.SectorSize));
    }

    private ClusterMapping? FindMapping(ulong offset, long length, bool isCachedOnly)
    {
        ulong l1Index = offset / _header.L2Span;
        length = (long)Math.Min((ulong)length, _header.L2Span - (offset % _header.L2Span));
        ulong l1 = l1Index < (ulong)_metadata.L1.Length ? _metadata.L1[l1Index] : 0;
        if ((l1 & Qcow2Features.OffsetMask) == 0)
            return new ClusterMapping(ClusterKind.Unallocated, 0, 0, length);
        CachedTable? table = isCachedOnly ? _metadata.L2.Find(l1 & Qcow2Features.OffsetMask) : _metadata.GetL2(l1);
        if (table is null)
            return null;
        int index = (int)((offset >> _header.ClusterBits) & ((ulong)_header.L2Entries - 1));
        ulong inside = offset & ((ulong)ClusterSize - 1);
        ulong first = table.GetEntry(index);
        ClusterKind kind = KindOf(first);
        long known = ClusterSize - (long)inside;
        if (kind == ClusterKind.Compressed)
            return new ClusterMapping(kind, first, 0, Math.Min(known, length));
        ulong place = first & Qcow2Features.OffsetMask;
        if (kind == ClusterKind.Data)
            _ = _metadata.CheckOffset(place, "a data cluster");
        for (ulong expected = first + (ulong)ClusterSize; known < length; expected += (ulong)ClusterSize, known += ClusterSize)
        {
            ulong next = table.GetEntry(++index);
            if (kind == ClusterKind.Data ? next != expected : KindOf(next) != kind)
                break;
        }

        return new ClusterMapping(kind, first, kind == ClusterKind.Data ? place + inside : 0, Math.Min(known, length));
    }

    private ClusterKind KindOf(ulong entry)
    {
        if ((entry & Qcow2Features.Compressed) != 0)
            return ClusterKind.Compressed;
        if ((entry & Qcow2Features.ReadsZero) != 0 && _header.Version >= 3)
            return ClusterKind.Zero;
        return (entry & Qcow2Features.OffsetMask) == 0 ? ClusterKind.Unallocated : ClusterKind.Data;
    }

    private void CheckWritable()
    {
        if (IsReadOnly)
            throw NotWritable();
        if (_isDamaged)
            throw new IOException($"{Name}: the image is damaged and is not written to; \"doppel disk check --repair\" may help");
    }

    /// <summary>Runs an operation; damage that it finds is marked in the image and ends all writing.</summary>
    private void Watch(Action action)
    {
        try
        {
            action();
        }
        catch (ImageDamageException e)
        {
            if (!IsReadOnly && !_isDamaged)
            {
                _isDamaged = true;
                _metadata.SetIncompatible(Qcow2Features.Corrupt, true);
            }

            throw new IOException($"{Name}: the image is damaged: {e.Message}", e);
        }
    }
}
