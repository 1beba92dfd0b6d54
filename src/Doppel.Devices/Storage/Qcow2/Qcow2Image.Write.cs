using Doppel.Devices.Storage.Images;

namespace Doppel.Devices.Storage.Qcow2;

public sealed partial class Qcow2Image
{
    /// <summary>Guest bytes that one step of a write allocates at most.</summary>
    private const long StepLimit = 8 << 20;

    /// <inheritdoc/>
    public override void Write(ulong offset, BufferList buffers)
    {
        CheckWritable();
        Watch(() =>
        {
            for (long done = 0; done < buffers.Length;)
            {
                BufferList rest = buffers.Slice(done, Math.Min(buffers.Length - done, StepLimit));
                long written = WriteInPlace(offset + (ulong)done, rest);
                if (written == 0)
                    written = WriteAllocating(offset + (ulong)done, rest);
                done += written;
            }
        });
        CommitUnderPressure();
    }

    /// <inheritdoc/>
    public override bool TryWriteNow(ulong offset, BufferList buffers)
    {
        if (IsReadOnly || _isDamaged || (offset | (ulong)buffers.Length) % ImageFile.PageSize != 0 || !_metadata.Sync.TryEnter())
            return false;
        ClusterMapping mapping;
        RangeLock.Holder holder;
        try
        {
            if (!_ranges.TryEnter(offset, offset + (ulong)buffers.Length, isExclusive: false, out holder))
                return false;
            mapping = default;
            try
            {
                mapping = MapWritable(offset, buffers.Length, isCachedOnly: true);
            }
            catch (ImageDamageException)
            {
                // The blocking write finds it again, and marks it.
            }

            if (mapping.Length < buffers.Length)
            {
                holder.Dispose();
                return false;
            }
        }
        finally
        {
            _metadata.Sync.Exit();
        }

        using (holder)
            _file.Write(mapping.Offset, buffers);
        return true;
    }

    /// <inheritdoc/>
    public override void Discard(ulong offset, ulong length)
    {
        CheckWritable();
        Watch(() => ChangeWholeClusters(offset, length, DiscardCluster));
        CommitUnderPressure();
    }

    /// <inheritdoc/>
    public override void WriteZeroes(ulong offset, ulong length, bool mayFree)
    {
        CheckWritable();
        Watch(() =>
        {
            ulong mask = (ulong)ClusterSize - 1, end = offset + length;
            ulong wholeStart = Math.Min((offset + mask) & ~mask, end);
            ulong wholeEnd = end >= Length ? end : Math.Max(end & ~mask, wholeStart);
            ZeroPart(offset, wholeStart - offset);
            if (_header.Version >= 3)
                ChangeWholeClusters(wholeStart, wholeEnd - wholeStart, (table, index, kind, entry) => ZeroCluster(table, index, kind, entry, mayFree));
            else if (mayFree && _header.BackingName is null)
                ChangeWholeClusters(wholeStart, wholeEnd - wholeStart, DiscardCluster);
            else
                ZeroPart(wholeStart, wholeEnd - wholeStart);
            ZeroPart(wholeEnd, end - wholeEnd);
        });
        CommitUnderPressure();
    }

    /// <summary>Writes one compressed cluster where the image has none; used to make images.</summary>
    /// <param name="offset">A cluster's first byte.</param>
    /// <param name="compressed">What <see cref="ClusterCodec"/> made of the cluster.</param>
    internal void WriteCompressed(ulong offset, byte[] compressed)
    {
        CheckWritable();
        Watch(() =>
        {
            using RangeLock.Holder holder = _ranges.Enter(offset, offset + (ulong)ClusterSize, isExclusive: true);
            ulong place;
            lock (_metadata.Sync)
                place = ReserveBytes(compressed.Length);
            _file.Write(place, compressed);
            lock (_metadata.Sync)
            {
                CachedTable table = _metadata.GetWritableL2((int)(offset / _header.L2Span));
                int index = IndexOf(offset);
                FreeEntry(table.GetEntry(index), false);
                int sizeShift = 62 - (_header.ClusterBits - 8);
                ulong sectors = ((place + (ulong)compressed.Length - 1) / IBlockBackend.SectorSize) - (place / IBlockBackend.SectorSize);
                CountBytes(place, compressed.Length);
                _metadata.SetL2(table, index, Qcow2Features.Compressed | (sectors << sizeShift) | place);
            }
        });
        CommitUnderPressure();
    }

    private void CommitUnderPressure()
    {
        bool isPressed;
        lock (_metadata.Sync)
            isPressed = _metadata.IsPressed;
        if (isPressed)
            Watch(() => _metadata.Commit());
    }

    /// <summary>Writes the beginning of a range into clusters that are this image's alone.</summary>
    /// <returns>Bytes written; 0 when the first cluster is none.</returns>
    private long WriteInPlace(ulong offset, BufferList buffers)
    {
        using RangeLock.Holder holder = _ranges.Enter(offset, offset + (ulong)buffers.Length, isExclusive: false);
        ClusterMapping mapping;
        lock (_metadata.Sync)
            mapping = MapWritable(offset, buffers.Length);
        if (mapping.Length == 0)
            return 0;
        _file.Write(mapping.Offset, buffers.Slice(0, mapping.Length));
        return mapping.Length;
    }

    private ClusterMapping MapWritable(ulong offset, long length, bool isCachedOnly = false)
    {
        ulong l1 = _metadata.L1[offset / _header.L2Span];
        if (FindMapping(offset, length, isCachedOnly) is not ClusterMapping mapping || mapping.Kind != ClusterKind.Data || (l1 & Qcow2Features.Copied) == 0 || (mapping.Entry & Qcow2Features.Copied) == 0)
            return default;
        ulong cluster = mapping.Offset >> _header.ClusterBits;
        if (cluster == 0 || IsTable(cluster, _header.L1Offset, _header.L1Entries * 8UL) || _metadata.L2.Find(cluster << _header.ClusterBits) is not null
            || IsTable(cluster, _header.RefcountTableOffset, (ulong)_header.RefcountTableClusters << _header.ClusterBits)
            || _metadata.Blocks.Find(cluster << _header.ClusterBits) is not null)
        {
            throw new ImageDamageException($"the guest's cluster at 0x{offset:x} is said to be cluster {cluster} of the file, which has tables");
        }

        return mapping;
    }

    private bool IsTable(ulong cluster, ulong offset, ulong length) => cluster >= offset >> _header.ClusterBits && cluster << _header.ClusterBits < offset + length;

    /// <summary>Writes the beginning of a range into new clusters, with what else they have of the disk.</summary>
    /// <returns>Bytes written.</returns>
    private long WriteAllocating(ulong offset, BufferList buffers)
    {
        ulong mask = (ulong)ClusterSize - 1;
        ulong end = offset + (ulong)buffers.Length;
        ulong start = offset & ~mask;
        using RangeLock.Holder holder = _ranges.Enter(start, (end + mask) & ~mask, isExclusive: true);
        ClusterMapping first;
        int count;
        ulong cluster;
        bool isPristine = false, isReused = false;
        lock (_metadata.Sync)
        {
            // Another write may have allocated it since.
            if (MapWritable(offset, buffers.Length) is { Length: > 0 } present)
            {
                _file.Write(present.Offset, buffers.Slice(0, present.Length));
                return present.Length;
            }

            first = Map(offset, 1);
            count = CountToAllocate(start, end);
            isReused = first.Kind == ClusterKind.Zero && (first.Entry & Qcow2Features.Copied) != 0 && (first.Entry & Qcow2Features.OffsetMask) != 0;
            if (isReused)
                (cluster, count) = (_metadata.CheckOffset(first.Entry & Qcow2Features.OffsetMask, "a preallocated cluster") >> _header.ClusterBits, 1);
            else
                cluster = _metadata.Refcounts.Reserve(count, out count, out isPristine);
        }

        bool isLinked = false;
        try
        {
            ulong allocatedEnd = start + ((ulong)count << _header.ClusterBits);
            ulong writeEnd = Math.Min(end, allocatedEnd);
            (Memory<byte> head, long skipped) = ReadAround(start, offset, isPristine, isBefore: true);
            (Memory<byte> tail, _) = ReadAround(writeEnd, allocatedEnd, isPristine, isBefore: false);
            _file.Write((cluster << _header.ClusterBits) + (ulong)skipped, buffers.Slice(0, (long)(writeEnd - offset)).Surround(head, tail));
            lock (_metadata.Sync)
            {
                Link(start, cluster, count, isReused);
                isLinked = true;
            }

            return (long)(writeEnd - offset);
        }
        finally
        {
            if (!isLinked && !isReused)
            {
                lock (_metadata.Sync)
                    _metadata.Refcounts.Unreserve(cluster, count);
            }
        }
    }

    /// <summary>How many clusters from a guest offset on, in one L2 table, a write can't use as they are.</summary>
    private int CountToAllocate(ulong start, ulong end)
    {
        int count = 1;
        for (ulong at = start + (ulong)ClusterSize; at < end && at % _header.L2Span != 0; at += (ulong)ClusterSize, count++)
        {
            if (MapWritable(at, 1).Length > 0)
                break;
            ClusterMapping mapping = Map(at, 1);
            if (mapping.Kind == ClusterKind.Zero && (mapping.Entry & Qcow2Features.OffsetMask) != 0)
                break;
        }

        return count;
    }

    /// <summary>What a newly allocated cluster keeps of the disk beside what is written.</summary>
    /// <returns>The bytes, and how many zeros before them need not be written because the file has none there.</returns>
    private (Memory<byte> Bytes, long Skipped) ReadAround(ulong from, ulong to, bool isPristine, bool isBefore)
    {
        if (from == to)
            return (Memory<byte>.Empty, 0);
        ClusterMapping mapping;
        lock (_metadata.Sync)
            mapping = Map(isBefore ? from : to - 1, 1);
        bool isZero = mapping.Kind == ClusterKind.Zero
            || (mapping.Kind == ClusterKind.Unallocated && (_backing is null || (isBefore ? from : from & ~((ulong)ClusterSize - 1)) >= _backing.Length));
        if (isZero && isPristine)
            return (Memory<byte>.Empty, isBefore ? (long)(to - from) : 0);
        byte[] bytes = new byte[to - from];
        if (!isZero)
            ReadHeld(from, new BufferList(bytes));
        return (bytes, 0);
    }

    private void Link(ulong start, ulong cluster, int count, bool isReused)
    {
        CachedTable table = _metadata.GetWritableL2((int)(start / _header.L2Span));
        int index = IndexOf(start);
        for (int i = 0; i < count; i++)
        {
            ulong old = table.GetEntry(index + i);
            if (!isReused)
            {
                _metadata.Refcounts.Use(cluster + (ulong)i);
                FreeEntry(old, false);
            }

            _metadata.SetL2(table, index + i, ((cluster + (ulong)i) << _header.ClusterBits) | Qcow2Features.Copied);
        }
    }

    private int IndexOf(ulong offset) => (int)((offset >> _header.ClusterBits) & ((ulong)_header.L2Entries - 1));

    /// <summary>Gives up what an L2 entry refers to.</summary>
    private void FreeEntry(ulong entry, bool isPunched)
    {
        if ((entry & Qcow2Features.Compressed) != 0)
        {
            _decompressed.Clear();
            _compressedEnd = 0;
            (ulong offset, int length) = CompressedPlace(entry);
            for (ulong cluster = offset >> _header.ClusterBits; cluster <= (offset + (ulong)length - 1) >> _header.ClusterBits; cluster++)
                _metadata.Free(cluster, isPunched);
        }
        else if ((entry & Qcow2Features.OffsetMask) != 0)
        {
            _metadata.Free((entry & Qcow2Features.OffsetMask) >> _header.ClusterBits, isPunched);
        }
    }

    /// <summary>Zeros inside one cluster, or where the format can't say that clusters are zeros.</summary>
    private void ZeroPart(ulong offset, ulong length)
    {
        ulong end = offset + length;
        while (offset < end)
        {
            ClusterMapping mapping;
            lock (_metadata.Sync)
                mapping = Map(offset, (long)Math.Min(end - offset, 1 << 20));
            bool isZero = mapping.Kind == ClusterKind.Zero || (mapping.Kind == ClusterKind.Unallocated && (_backing is null || offset >= _backing.Length));
            if (!isZero)
            {
                var zeros = new BufferList(new byte[mapping.Length]);
                for (long done = 0; done < mapping.Length;)
                {
                    BufferList rest = zeros.Slice(done, mapping.Length - done);
                    long written = WriteInPlace(offset + (ulong)done, rest);
                    done += written != 0 ? written : WriteAllocating(offset + (ulong)done, rest);
                }
            }

            offset += (ulong)mapping.Length;
        }
    }

    /// <summary>Applies a change to each cluster that lies wholly in a range, or whose rest is behind the disk's end.</summary>
    private void ChangeWholeClusters(ulong offset, ulong length, Action<int, int, ClusterKind, ulong> change)
    {
        ulong mask = (ulong)ClusterSize - 1, end = offset + length;
        ulong at = (offset + mask) & ~mask;
        end = end >= Length ? (end + mask) & ~mask : end & ~mask;
        while (at < end)
        {
            ulong stop = Math.Min(end, (at / _header.L2Span + 1) * _header.L2Span);
            using (_ranges.Enter(at, stop, isExclusive: true))
            {
                lock (_metadata.Sync)
                {
                    for (; at < stop; at += (ulong)ClusterSize)
                    {
                        ClusterMapping mapping = Map(at, 1);
                        change((int)(at / _header.L2Span), IndexOf(at), mapping.Kind, mapping.Entry);
                        if (mapping.Kind == ClusterKind.Unallocated && _metadata.L1[at / _header.L2Span] == 0)
                            break;
                    }

                    at = stop;
                }
            }

            CommitUnderPressure();
        }
    }

    private void DiscardCluster(int l1Index, int index, ClusterKind kind, ulong entry)
    {
        bool isEmptyZero = kind == ClusterKind.Zero && (entry & Qcow2Features.OffsetMask) == 0;
        if (kind == ClusterKind.Unallocated || isEmptyZero || (_header.BackingName is not null && _header.Version < 3))
            return;
        CachedTable table = _metadata.GetWritableL2(l1Index);
        FreeEntry(entry, true);
        _metadata.SetL2(table, index, _header.BackingName is null ? 0 : Qcow2Features.ReadsZero);
    }

    private void ZeroCluster(int l1Index, int index, ClusterKind kind, ulong entry, bool mayFree)
    {
        if ((kind == ClusterKind.Unallocated && _header.BackingName is null) || (kind == ClusterKind.Zero && (!mayFree || (entry & Qcow2Features.OffsetMask) == 0)))
            return;
        CachedTable table = _metadata.GetWritableL2(l1Index);
        if (kind == ClusterKind.Data && !mayFree && (entry & Qcow2Features.Copied) != 0)
        {
            _metadata.SetL2(table, index, entry | Qcow2Features.ReadsZero);
            return;
        }

        FreeEntry(entry, mayFree);
        _metadata.SetL2(table, index, Qcow2Features.ReadsZero);
    }
}
