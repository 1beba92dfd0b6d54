using System.Buffers.Binary;
using System.Text;
using Doppel.Devices.Storage.Images;

namespace Doppel.Devices.Storage.Qcow2;

/// <summary>
/// The header of a qcow2 image (docs/interop/qcow2, "Header"). All of it lies in the first 4096 bytes where possible, so
/// that a kill cannot tear a write of it: the kernel lets one end only between pages.
/// </summary>
internal sealed class Qcow2Header
{
    internal const int Version2Length = 72;
    internal const int Version3Length = 104;
    private const int CompressionTypeLength = 112;
    private readonly List<(uint Type, byte[] Data)> _extensions = [];

    internal int Version { get; init; } = 3;
    internal int ClusterBits { get; init; } = 16;
    internal ulong Size { get; set; }
    internal uint L1Entries { get; set; }
    internal ulong L1Offset { get; set; }
    internal ulong RefcountTableOffset { get; set; }
    internal uint RefcountTableClusters { get; set; }
    internal uint SnapshotCount { get; set; }
    internal ulong SnapshotsOffset { get; set; }
    internal ulong Incompatible { get; set; }
    internal ulong Compatible { get; set; }
    internal ulong Autoclear { get; set; }
    internal int RefcountOrder { get; init; } = 4;
    internal Qcow2Compression Compression { get; init; }
    internal string? BackingName { get; set; }
    internal string? BackingFormat { get; set; }

    internal int ClusterSize => 1 << ClusterBits;
    internal int L2Entries => 1 << (ClusterBits - 3);

    /// <summary>Guest bytes that one L2 table maps.</summary>
    internal ulong L2Span => 1UL << (ClusterBits + ClusterBits - 3);

    internal IReadOnlyList<(uint Type, byte[] Data)> Extensions => _extensions;

    /// <summary>Entries of an L1 table for a disk of a length.</summary>
    internal uint L1EntriesFor(ulong size) => (uint)((size + L2Span - 1) >> (ClusterBits + ClusterBits - 3));

    /// <summary>Reads and checks a header.</summary>
    /// <exception cref="DiskImageException">It is none, damaged, or uses what isn't supported.</exception>
    internal static Qcow2Header Read(ImageFile file)
    {
        byte[] bytes = file.Read(0, CompressionTypeLength);
        ReadOnlySpan<byte> b = bytes;
        if (U32(b, 0) != Qcow2Features.Magic)
            throw new DiskImageException($"{file.Path}: is no qcow2 image; its first bytes are not \"QFI\\xfb\"");
        int version = (int)U32(b, 4);
        if (version is not (2 or 3))
            throw new DiskImageException($"{file.Path}: is a qcow2 image of version {U32(b, 4)}; 2 or 3 would be right");
        uint clusterBits = U32(b, 20);
        if (clusterBits is < Qcow2Features.MinimumClusterBits or > Qcow2Features.MaximumClusterBits)
            throw Damaged(file, $"2^{clusterBits} bytes a cluster");
        if (U32(b, 32) != 0)
            throw new DiskImageException($"{file.Path}: the image is encrypted, which isn't supported; \"qemu-img convert\" makes a plain one");
        uint order = version == 2 ? 4 : U32(b, 96);
        uint headerLength = version == 2 ? Version2Length : U32(b, 100);
        if (order > 6 || headerLength < (version == 2 ? Version2Length : Version3Length) || headerLength % 8 != 0 || headerLength > 1 << (int)clusterBits)
            throw Damaged(file, $"a header of {headerLength} bytes with refcounts of 2^{order} bits");
        byte compression = headerLength > Version3Length ? b[104] : (byte)0;
        if (compression > 1)
            throw new DiskImageException($"{file.Path}: compression type {compression} isn't known; 0 (deflate) and 1 (zstd) are");
        var header = new Qcow2Header
        {
            Version = version,
            ClusterBits = (int)clusterBits,
            Size = U64(b, 24),
            L1Entries = U32(b, 36),
            L1Offset = U64(b, 40),
            RefcountTableOffset = U64(b, 48),
            RefcountTableClusters = U32(b, 56),
            SnapshotCount = U32(b, 60),
            SnapshotsOffset = U64(b, 64),
            Incompatible = version == 2 ? 0 : U64(b, 72),
            Compatible = version == 2 ? 0 : U64(b, 80),
            Autoclear = version == 2 ? 0 : U64(b, 88),
            RefcountOrder = (int)order,
            Compression = (Qcow2Compression)compression,
        };
        header.Check(file);
        header.ReadExtensions(file, headerLength);
        header.ReadBackingName(file, U64(b, 8), U32(b, 16));
        return header;
    }

    /// <summary>The whole header with extensions and the backing file's name.</summary>
    /// <exception cref="DiskImageException">It is larger than a cluster.</exception>
    internal byte[] Serialize(string imageName)
    {
        byte[] bytes = new byte[ClusterSize];
        Span<byte> b = bytes;
        int length = Version == 2 ? Version2Length : CompressionTypeLength;
        BinaryPrimitives.WriteUInt32BigEndian(b, Qcow2Features.Magic);
        BinaryPrimitives.WriteUInt32BigEndian(b[4..], (uint)Version);
        BinaryPrimitives.WriteUInt32BigEndian(b[20..], (uint)ClusterBits);
        GeometryFields().CopyTo(b[24..]);
        BinaryPrimitives.WriteUInt64BigEndian(b[48..], RefcountTableOffset);
        BinaryPrimitives.WriteUInt32BigEndian(b[56..], RefcountTableClusters);
        BinaryPrimitives.WriteUInt32BigEndian(b[60..], SnapshotCount);
        BinaryPrimitives.WriteUInt64BigEndian(b[64..], SnapshotsOffset);
        if (Version >= 3)
        {
            FeatureFields().CopyTo(b[72..]);
            BinaryPrimitives.WriteUInt32BigEndian(b[96..], (uint)RefcountOrder);
            BinaryPrimitives.WriteUInt32BigEndian(b[100..], (uint)length);
            b[104] = (byte)Compression;
        }

        int at = length;
        IEnumerable<(uint Type, byte[] Data)> extensions = _extensions.Where(e => e.Type != Qcow2Features.ExtensionBackingFormat);
        if (BackingFormat is not null)
            extensions = extensions.Prepend((Qcow2Features.ExtensionBackingFormat, Encoding.UTF8.GetBytes(BackingFormat)));
        byte[] name = BackingName is null ? [] : Encoding.UTF8.GetBytes(BackingName);
        if (name.Length > 1023)
            throw new DiskImageException($"{imageName}: the backing file's name has {name.Length} bytes; at most 1023 would be right");
        foreach ((uint type, byte[] data) in extensions)
        {
            int padded = (data.Length + 7) & ~7;
            if (at + 8 + padded + 8 + name.Length > ClusterSize)
                throw new DiskImageException($"{imageName}: clusters of {ClusterSize} bytes have no room for the header and the backing file's name; a larger cluster size would be right");
            BinaryPrimitives.WriteUInt32BigEndian(b[at..], type);
            BinaryPrimitives.WriteUInt32BigEndian(b[(at + 4)..], (uint)data.Length);
            data.CopyTo(b[(at + 8)..]);
            at += 8 + padded;
        }

        at += 8;
        if (name.Length > 0)
        {
            if (at + name.Length > ClusterSize)
                throw new DiskImageException($"{imageName}: clusters of {ClusterSize} bytes have no room for the backing file's name; a larger cluster size would be right");
            BinaryPrimitives.WriteUInt64BigEndian(b[8..], (ulong)at);
            BinaryPrimitives.WriteUInt32BigEndian(b[16..], (uint)name.Length);
            name.CopyTo(b[at..]);
        }

        return bytes;
    }

    /// <summary>Bytes 24 to 47: length of the disk, encryption, L1 table.</summary>
    internal byte[] GeometryFields()
    {
        byte[] bytes = new byte[24];
        BinaryPrimitives.WriteUInt64BigEndian(bytes, Size);
        BinaryPrimitives.WriteUInt32BigEndian(bytes.AsSpan(12), L1Entries);
        BinaryPrimitives.WriteUInt64BigEndian(bytes.AsSpan(16), L1Offset);
        return bytes;
    }

    /// <summary>Bytes 48 to 59: the refcount table.</summary>
    internal byte[] RefcountFields()
    {
        byte[] bytes = new byte[12];
        BinaryPrimitives.WriteUInt64BigEndian(bytes, RefcountTableOffset);
        BinaryPrimitives.WriteUInt32BigEndian(bytes.AsSpan(8), RefcountTableClusters);
        return bytes;
    }

    /// <summary>Bytes 60 to 71: the snapshots.</summary>
    internal byte[] SnapshotFields()
    {
        byte[] bytes = new byte[12];
        BinaryPrimitives.WriteUInt32BigEndian(bytes, SnapshotCount);
        BinaryPrimitives.WriteUInt64BigEndian(bytes.AsSpan(4), SnapshotsOffset);
        return bytes;
    }

    /// <summary>Bytes 72 to 95: the feature bits of version 3.</summary>
    internal byte[] FeatureFields()
    {
        byte[] bytes = new byte[24];
        BinaryPrimitives.WriteUInt64BigEndian(bytes, Incompatible);
        BinaryPrimitives.WriteUInt64BigEndian(bytes.AsSpan(8), Compatible);
        BinaryPrimitives.WriteUInt64BigEndian(bytes.AsSpan(16), Autoclear);
        return bytes;
    }

    /// <summary>Adds the table of feature names, from which others explain bits that they don't know.</summary>
    internal void AddFeatureNames()
    {
        (byte Kind, byte Bit, string Name)[] names =
        [
            (0, 0, "dirty bit"), (0, 1, "corrupt bit"), (0, 2, "external data file"), (0, 3, "compression type"), (0, 4, "extended L2 entries"),
            (1, 0, "lazy refcounts"), (2, 0, "bitmaps"), (2, 1, "raw external data"),
        ];
        byte[] table = new byte[48 * names.Length];
        for (int i = 0; i < names.Length; i++)
        {
            table[48 * i] = names[i].Kind;
            table[(48 * i) + 1] = names[i].Bit;
            _ = Encoding.ASCII.GetBytes(names[i].Name, table.AsSpan((48 * i) + 2));
        }

        _extensions.Add((Qcow2Features.ExtensionFeatureNames, table));
    }

    private static DiskImageException Damaged(ImageFile file, string what) => new($"{file.Path}: the qcow2 header is damaged: it has {what}");

    private static uint U32(ReadOnlySpan<byte> bytes, int at) => BinaryPrimitives.ReadUInt32BigEndian(bytes[at..]);

    private static ulong U64(ReadOnlySpan<byte> bytes, int at) => BinaryPrimitives.ReadUInt64BigEndian(bytes[at..]);

    private void Check(ImageFile file)
    {
        if ((Incompatible & Qcow2Features.ExternalData) != 0)
            throw new DiskImageException($"{file.Path}: the image keeps its data in another file, which isn't supported; \"qemu-img convert -O qcow2\" makes a plain one");
        if ((Incompatible & Qcow2Features.ExtendedL2) != 0)
            throw new DiskImageException($"{file.Path}: the image has subclusters (extended L2 entries), which aren't supported; \"qemu-img convert -O qcow2\" makes a plain one");
        if ((Incompatible & ~Qcow2Features.KnownIncompatible) != 0)
            throw new DiskImageException($"{file.Path}: the image needs features that aren't known (incompatible feature bits 0x{Incompatible & ~Qcow2Features.KnownIncompatible:x})");
        ulong inside = (ulong)ClusterSize - 1;
        if ((L1Offset & inside) != 0 || (RefcountTableOffset & inside) != 0 || (SnapshotsOffset & inside) != 0 || RefcountTableOffset == 0)
            throw Damaged(file, "tables that don't begin at a cluster");
        if (Size > long.MaxValue - (ulong)IBlockBackend.SectorSize || L1Entries * 8UL > Qcow2Features.MaximumL1Bytes || (Size + L2Span - 1) >> (ClusterBits + ClusterBits - 3) > L1Entries)
            throw Damaged(file, $"an L1 table of {L1Entries} entries for a disk of {Size} bytes");
        if (RefcountTableClusters == 0 || (ulong)RefcountTableClusters << ClusterBits > Qcow2Features.MaximumRefcountTableBytes)
            throw Damaged(file, $"a refcount table of {RefcountTableClusters} clusters");
        if (SnapshotCount > Qcow2Features.MaximumSnapshots)
            throw Damaged(file, $"{SnapshotCount} snapshots");
    }

    private void ReadExtensions(ImageFile file, uint at)
    {
        byte[] cluster = file.Read(0, ClusterSize);
        while (at + 8 <= ClusterSize)
        {
            uint type = U32(cluster, (int)at), length = U32(cluster, (int)at + 4);
            if (type == Qcow2Features.ExtensionEnd)
                break;
            at += 8;
            if (length > ClusterSize - at)
                throw Damaged(file, $"an extension of {length} bytes");
            byte[] data = cluster[(int)at..(int)(at + length)];
            if (type == Qcow2Features.ExtensionBackingFormat)
                BackingFormat = Encoding.UTF8.GetString(data);
            _extensions.Add((type, data));
            at += (length + 7) & ~7u;
        }
    }

    private void ReadBackingName(ImageFile file, ulong offset, uint length)
    {
        if (offset == 0 || length == 0)
            return;
        if (length > 1023 || offset > (ulong)ClusterSize || length > (ulong)ClusterSize - offset)
            throw Damaged(file, $"a backing file's name of {length} bytes at {offset}");
        BackingName = Encoding.UTF8.GetString(file.Read(offset, (int)length));
    }
}
