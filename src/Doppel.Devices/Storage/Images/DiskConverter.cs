using Doppel.Devices.Storage.Qcow2;

namespace Doppel.Devices.Storage.Images;

/// <summary>Copies disks between images.</summary>
public static class DiskConverter
{
    private const int ChunkLength = 2 << 20;
    private const int ZeroUnit = 4096;

    /// <summary>Copies all of a disk to an image of at least its length that reads as zeros. Zeros are not written.</summary>
    /// <param name="source">The disk.</param>
    /// <param name="target">Where to.</param>
    /// <param name="progress">Told how many bytes of the disk are done; null for nobody.</param>
    /// <param name="cancel">Ends it between two pieces.</param>
    public static void Copy(DiskImage source, DiskImage target, Action<ulong>? progress, CancellationToken cancel)
    {
        ArgumentNullException.ThrowIfNull(source);
        ArgumentNullException.ThrowIfNull(target);
        byte[] buffer = new byte[ChunkLength];
        ForEachData(
            source,
            1,
            (offset, length) =>
            {
                Memory<byte> bytes = buffer.AsMemory(0, length);
                source.Read(offset, bytes);
                WriteNonZero(target, offset, bytes);
            },
            progress,
            cancel);
        target.Flush();
    }

    /// <summary>Copies all of a disk to a new qcow2 image in compressed clusters.</summary>
    /// <param name="source">The disk.</param>
    /// <param name="target">An image that has nothing yet.</param>
    /// <param name="progress">Told how many bytes of the disk are done; null for nobody.</param>
    /// <param name="cancel">Ends it between two pieces.</param>
    public static void CopyCompressed(DiskImage source, Qcow2Image target, Action<ulong>? progress, CancellationToken cancel)
    {
        ArgumentNullException.ThrowIfNull(source);
        ArgumentNullException.ThrowIfNull(target);
        int clusterSize = target.ClusterSize;
        byte[] buffer = new byte[Math.Max(ChunkLength, clusterSize)];
        ForEachData(
            source,
            clusterSize,
            (offset, length) =>
            {
                int clusters = (length + clusterSize - 1) / clusterSize;
                buffer.AsSpan(length..Math.Min(buffer.Length, clusters * clusterSize)).Clear();
                source.Read(offset, buffer.AsMemory(0, length));
                var compressed = new byte[clusters][];
                _ = Parallel.For(0, clusters, i =>
                {
                    ReadOnlySpan<byte> cluster = buffer.AsSpan(i * clusterSize, clusterSize);
                    compressed[i] = cluster.ContainsAnyExcept((byte)0) ? ClusterCodec.Compress(target.Header.Compression, cluster) ?? [] : null!;
                });
                for (int i = 0; i < clusters; i++)
                {
                    ulong place = offset + (ulong)(i * clusterSize);
                    if (compressed[i] is { Length: > 0 } bytes)
                        target.WriteCompressed(place, bytes);
                    else if (compressed[i] is not null)
                        target.Write(place, buffer.AsMemory(i * clusterSize, (int)Math.Min((ulong)clusterSize, target.Length - place)));
                }
            },
            progress,
            cancel);
        target.Flush();
    }

    /// <summary>Copies what an overlay has into the image behind it, which then reads like the overlay.</summary>
    /// <param name="overlay">The overlay, opened without what is behind it.</param>
    /// <param name="backing">What is behind it, open for writing.</param>
    /// <param name="progress">Told how many bytes of the disk are done; null for nobody.</param>
    /// <param name="cancel">Ends it between two pieces.</param>
    public static void Commit(Qcow2Image overlay, DiskImage backing, Action<ulong>? progress, CancellationToken cancel)
    {
        ArgumentNullException.ThrowIfNull(overlay);
        ArgumentNullException.ThrowIfNull(backing);
        if (overlay.Length > backing.Length)
            backing.Resize(overlay.Length);
        byte[] buffer = new byte[ChunkLength];
        for (ulong offset = 0; offset < overlay.Length;)
        {
            cancel.ThrowIfCancellationRequested();
            ImageExtent extent = overlay.GetExtent(offset, Math.Min(overlay.Length - offset, ChunkLength));
            if (extent.Kind == ExtentKind.Zero)
            {
                backing.WriteZeroes(offset, extent.Length, mayFree: true);
            }
            else if (extent.Kind == ExtentKind.Data)
            {
                overlay.Read(offset, buffer.AsMemory(0, (int)extent.Length));
                backing.Write(offset, buffer.AsMemory(0, (int)extent.Length));
            }

            offset += extent.Length;
            progress?.Invoke(offset);
        }

        backing.Flush();
    }

    /// <summary>Puts into an overlay what would otherwise change when another image lies behind it.</summary>
    /// <param name="overlay">The overlay, with the present image behind it.</param>
    /// <param name="next">What will be behind it; null for nothing.</param>
    /// <param name="progress">Told how many bytes of the disk are done; null for nobody.</param>
    /// <param name="cancel">Ends it between two pieces.</param>
    public static void PrepareRebase(Qcow2Image overlay, DiskImage? next, Action<ulong>? progress, CancellationToken cancel)
    {
        ArgumentNullException.ThrowIfNull(overlay);
        byte[] now = new byte[overlay.ClusterSize], then = new byte[overlay.ClusterSize];
        for (ulong offset = 0; offset < overlay.Length;)
        {
            cancel.ThrowIfCancellationRequested();
            ulong length = Math.Min((ulong)overlay.ClusterSize - (offset % (ulong)overlay.ClusterSize), overlay.Length - offset);
            ClusterMapping mapping;
            lock (overlay.Metadata.Sync)
                mapping = overlay.Map(offset, (long)length);
            if (mapping.Kind == ClusterKind.Unallocated)
            {
                Memory<byte> nowBytes = now.AsMemory(0, (int)length), thenBytes = then.AsMemory(0, (int)length);
                overlay.Read(offset, nowBytes);
                thenBytes.Span.Clear();
                if (next is not null && offset < next.Length)
                    next.Read(offset, thenBytes[..(int)Math.Min(length, next.Length - offset)]);
                if (!nowBytes.Span.SequenceEqual(thenBytes.Span))
                    overlay.Write(offset, nowBytes);
            }

            offset += length;
            progress?.Invoke(offset);
        }

        overlay.Flush();
    }

    /// <summary>Visits what isn't known to be zeros, in pieces that begin at multiples of a unit.</summary>
    private static void ForEachData(DiskImage source, int unit, Action<ulong, int> visit, Action<ulong>? progress, CancellationToken cancel)
    {
        ulong chunk = (ulong)Math.Max(ChunkLength, unit);
        for (ulong offset = 0; offset < source.Length;)
        {
            cancel.ThrowIfCancellationRequested();
            ulong length = Math.Min(chunk, source.Length - offset);
            ulong zeros = ZerosAt(source, offset);
            if (zeros >= (ulong)unit || zeros == source.Length - offset)
            {
                offset += zeros == source.Length - offset ? zeros : zeros - (zeros % (ulong)unit);
            }
            else
            {
                visit(offset, (int)length);
                offset += length;
            }

            progress?.Invoke(offset);
        }
    }

    /// <summary>How many bytes from an offset on are zeros without having to be read, through all images behind each other.</summary>
    private static ulong ZerosAt(DiskImage source, ulong offset)
    {
        ulong at = offset;
        while (at < source.Length)
        {
            ulong zeros = ZeroExtent(source, at, source.Length - at);
            if (zeros == 0)
                break;
            at += zeros;
        }

        return at - offset;
    }

    private static ulong ZeroExtent(DiskImage image, ulong offset, ulong length)
    {
        ImageExtent extent = image.GetExtent(offset, length);
        return extent.Kind switch
        {
            ExtentKind.Zero => extent.Length,
            ExtentKind.Backing when image.Backing is DiskImage backing => ZeroExtent(backing, offset, extent.Length),
            _ => 0,
        };
    }

    private static void WriteNonZero(DiskImage target, ulong offset, Memory<byte> bytes)
    {
        for (int at = 0; at < bytes.Length;)
        {
            int start = at;
            bool isZero = IsZero(bytes, at);
            while (at < bytes.Length && IsZero(bytes, at) == isZero)
                at += ZeroUnit;
            at = Math.Min(at, bytes.Length);
            if (!isZero)
                target.Write(offset + (ulong)start, bytes[start..at]);
        }
    }

    private static bool IsZero(Memory<byte> bytes, int at) => !bytes.Span.Slice(at, Math.Min(ZeroUnit, bytes.Length - at)).ContainsAnyExcept((byte)0);
}
