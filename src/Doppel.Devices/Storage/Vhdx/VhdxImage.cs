using System.Buffers.Binary;
using System.Numerics;
using Doppel.Devices.Storage.Images;

namespace Doppel.Devices.Storage.Vhdx;

/// <summary>A VHDX image, fixed or dynamic, for reading (Microsoft, [MS-VHDX]).</summary>
public sealed class VhdxImage : ReadOnlyImage
{
    private const int Unit = 64 * 1024;
    private const int HeaderLength = 4096;
    private const int FullyPresent = 6;
    private const int PartiallyPresent = 7;
    private const ulong OffsetMask = ~0xFFFFFUL;
    private static readonly Guid BlockTableRegion = new("2DC27766-F623-4200-9D64-115E9BFD4A08");
    private static readonly Guid MetadataRegion = new("8B7CA206-4790-4B9A-B8FE-575F050F886E");
    private static readonly Guid FileParameters = new("CAA16737-FA36-4D43-B3B6-33F0AA44E76B");
    private static readonly Guid DiskSize = new("2FA54224-CD1B-4876-B211-5DBED83BF4B8");
    private static readonly Guid LogicalSectorSize = new("8141BF1D-A96F-4709-BA47-F233A8FAAB5F");
    private readonly ImageFile _file;
    private readonly ulong[] _table;
    private readonly ulong _blockSize;
    private readonly ulong _chunkRatio;

    private VhdxImage(ImageFile file, ulong length, ulong[] table, ulong blockSize, ulong chunkRatio)
        : base(file.Path, length)
    {
        _file = file;
        _table = table;
        _blockSize = blockSize;
        _chunkRatio = chunkRatio;
    }

    /// <inheritdoc/>
    public override DiskFormat Format => DiskFormat.Vhdx;

    /// <summary>Opens an image.</summary>
    /// <param name="file">The file; disposed with the image.</param>
    /// <param name="options">How; only for reading.</param>
    /// <exception cref="DiskImageException">It is no such image, wasn't closed, or is of a kind that isn't supported.</exception>
    public static VhdxImage Open(ImageFile file, DiskOpenOptions options)
    {
        ArgumentNullException.ThrowIfNull(file);
        ArgumentNullException.ThrowIfNull(options);
        RefuseWriting(file.Path, DiskFormat.Vhdx, options);
        if (!file.Read(0, 8).AsSpan().SequenceEqual("vhdxfile"u8))
            throw new DiskImageException($"{file.Path}: is no VHDX image; its first bytes are not \"vhdxfile\"");
        CheckHeader(file);
        Dictionary<Guid, (ulong Offset, uint Length)> regions = ReadRegions(file);
        if (!regions.TryGetValue(MetadataRegion, out (ulong Offset, uint Length) metadata) || !regions.TryGetValue(BlockTableRegion, out (ulong Offset, uint Length) blocks))
            throw Damaged(file, "it lacks its metadata or its block table");
        Dictionary<Guid, byte[]> items = ReadMetadata(file, metadata.Offset);
        if (!items.TryGetValue(FileParameters, out byte[]? parameters) || !items.TryGetValue(DiskSize, out byte[]? size) || !items.TryGetValue(LogicalSectorSize, out byte[]? sector))
            throw Damaged(file, "its metadata lacks the disk's size");
        ulong blockSize = BinaryPrimitives.ReadUInt32LittleEndian(parameters), length = BinaryPrimitives.ReadUInt64LittleEndian(size);
        ulong sectorSize = BinaryPrimitives.ReadUInt32LittleEndian(sector);
        if ((BinaryPrimitives.ReadUInt32LittleEndian(parameters.AsSpan(4)) & 2) != 0)
            throw new DiskImageException($"{file.Path}: the VHDX image is a difference to another, which isn't supported; merging it into its parent would be right");
        if (!BitOperations.IsPow2(blockSize) || blockSize is < 1 << 20 or > 256 << 20 || sectorSize is not (512 or 4096) || length > 64UL << 40 || blocks.Length > 1 << 30)
            throw Damaged(file, $"blocks of {blockSize} bytes for a disk of {length}");
        byte[] bytes = file.Read(blocks.Offset, (int)blocks.Length);
        var table = new ulong[bytes.Length / 8];
        for (int i = 0; i < table.Length; i++)
            table[i] = BinaryPrimitives.ReadUInt64LittleEndian(bytes.AsSpan(i * 8));
        return new VhdxImage(file, length, table, blockSize, (sectorSize << 23) / blockSize);
    }

    /// <inheritdoc/>
    protected override void Dispose(bool disposing) => _file.Dispose();

    private protected override ImagePlace Locate(ulong offset, ulong length, bool isData)
    {
        ulong block = offset / _blockSize, inside = offset % _blockSize;
        length = Math.Min(length, _blockSize - inside);
        ulong index = block + (block / _chunkRatio);
        ulong entry = index < (ulong)_table.Length ? _table[index] : 0;
        return (entry & 7) switch
        {
            FullyPresent => new ImagePlace(_file, (entry & OffsetMask) + inside, length),
            PartiallyPresent => throw new ImageDamageException($"block {block} has parts in another image"),
            _ => new ImagePlace(null, 0, length),
        };
    }

    private static DiskImageException Damaged(ImageFile file, string what) => new($"{file.Path}: the VHDX image is damaged: {what}");

    /// <summary>Checks the newer of the two headers.</summary>
    private static void CheckHeader(ImageFile file)
    {
        byte[]? newest = null;
        for (ulong place = Unit; place <= 2 * Unit; place += Unit)
        {
            byte[] header = file.Read(place, HeaderLength);
            bool isRight = header.AsSpan().StartsWith("head"u8) && IsChecksumRight(header);
            if (isRight && (newest is null || BinaryPrimitives.ReadUInt64LittleEndian(header.AsSpan(8)) > BinaryPrimitives.ReadUInt64LittleEndian(newest.AsSpan(8))))
                newest = header;
        }

        if (newest is null)
            throw Damaged(file, "neither of its headers is right");
        if (newest.AsSpan(48, 16).ContainsAnyExcept((byte)0))
            throw new DiskImageException($"{file.Path}: the VHDX image was not closed, and its log has changes; opening it once with its own program, or \"qemu-img check -r all\", would be right");
    }

    private static Dictionary<Guid, (ulong Offset, uint Length)> ReadRegions(ImageFile file)
    {
        for (ulong place = 3 * Unit; place <= 4 * Unit; place += Unit)
        {
            byte[] table = file.Read(place, Unit);
            uint count = BinaryPrimitives.ReadUInt32LittleEndian(table.AsSpan(8));
            if (!table.AsSpan().StartsWith("regi"u8) || !IsChecksumRight(table) || count > 2047)
                continue;
            var regions = new Dictionary<Guid, (ulong, uint)>();
            for (int i = 0; i < count; i++)
            {
                ReadOnlySpan<byte> entry = table.AsSpan(16 + (i * 32), 32);
                var id = new Guid(entry[..16]);
                if (id != BlockTableRegion && id != MetadataRegion && (entry[28] & 1) != 0)
                    throw new DiskImageException($"{file.Path}: the VHDX image needs a region {id}, which isn't known");
                regions[id] = (BinaryPrimitives.ReadUInt64LittleEndian(entry[16..]), BinaryPrimitives.ReadUInt32LittleEndian(entry[24..]));
            }

            return regions;
        }

        throw Damaged(file, "neither of its region tables is right");
    }

    private static Dictionary<Guid, byte[]> ReadMetadata(ImageFile file, ulong offset)
    {
        byte[] table = file.Read(offset, Unit);
        int count = BinaryPrimitives.ReadUInt16LittleEndian(table.AsSpan(10));
        if (!table.AsSpan().StartsWith("metadata"u8) || count > 2047)
            throw Damaged(file, "its metadata table is none");
        var items = new Dictionary<Guid, byte[]>();
        for (int i = 0; i < count; i++)
        {
            ReadOnlySpan<byte> entry = table.AsSpan(32 + (i * 32), 32);
            uint place = BinaryPrimitives.ReadUInt32LittleEndian(entry[16..]), length = BinaryPrimitives.ReadUInt32LittleEndian(entry[20..]);
            items[new Guid(entry[..16])] = file.Read(offset + place, (int)Math.Clamp(length, 8, 1 << 20));
        }

        return items;
    }

    /// <summary>CRC-32C of a structure whose bytes 4 to 7 are the sum and count as zeros.</summary>
    private static bool IsChecksumRight(byte[] structure)
    {
        uint crc = uint.MaxValue;
        for (int i = 0; i < structure.Length; i++)
            crc = BitOperations.Crc32C(crc, i is >= 4 and < 8 ? (byte)0 : structure[i]);
        return ~crc == BinaryPrimitives.ReadUInt32LittleEndian(structure.AsSpan(4));
    }
}
