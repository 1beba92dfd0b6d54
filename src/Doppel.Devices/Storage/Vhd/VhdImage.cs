using System.Buffers.Binary;
using Doppel.Devices.Storage.Images;

namespace Doppel.Devices.Storage.Vhd;

/// <summary>
/// A VHD image, fixed or dynamic, for reading (Microsoft, "Virtual Hard Disk Image Format Specification" 1.0). Its length is
/// the footer's current size.
/// </summary>
public sealed class VhdImage : ReadOnlyImage
{
    private const int FooterLength = 512;
    private const uint Fixed = 2;
    private const uint Dynamic = 3;
    private const uint Unallocated = 0xFFFFFFFF;
    private const int ChecksumOffset = 64;
    private const uint MaximumEntries = 1 << 24;
    private readonly ImageFile _file;
    private readonly uint[]? _table;
    private readonly ulong _blockSize;
    private readonly ulong _bitmapSize;

    private VhdImage(ImageFile file, ulong length, uint[]? table, uint blockSize)
        : base(file.Path, length)
    {
        _file = file;
        _table = table;
        _blockSize = blockSize;
        ulong bitmap = blockSize / IBlockBackend.SectorSize / 8;
        _bitmapSize = (bitmap + IBlockBackend.SectorSize - 1) & ~(ulong)(IBlockBackend.SectorSize - 1);
    }

    /// <inheritdoc/>
    public override DiskFormat Format => DiskFormat.Vhd;

    /// <summary>Opens an image.</summary>
    /// <param name="file">The file; disposed with the image.</param>
    /// <param name="options">How; only for reading.</param>
    /// <exception cref="DiskImageException">It is no such image, or of a kind that isn't supported.</exception>
    public static VhdImage Open(ImageFile file, DiskOpenOptions options)
    {
        ArgumentNullException.ThrowIfNull(file);
        ArgumentNullException.ThrowIfNull(options);
        RefuseWriting(file.Path, DiskFormat.Vhd, options);
        byte[] footer = FindFooter(file);
        ulong length = BinaryPrimitives.ReadUInt64BigEndian(footer.AsSpan(48));
        uint type = BinaryPrimitives.ReadUInt32BigEndian(footer.AsSpan(60));
        if (type == Fixed)
        {
            if (length > file.Length)
                throw new DiskImageException($"{file.Path}: the VHD image is truncated: it has {file.Length} bytes for a disk of {length}");
            return new VhdImage(file, length, null, 0);
        }

        if (type != Dynamic)
            throw new DiskImageException($"{file.Path}: is a VHD image of type {type}, which isn't supported; fixed (2) and dynamic (3) are");
        byte[] header = file.Read(BinaryPrimitives.ReadUInt64BigEndian(footer.AsSpan(16)), 1024);
        uint entries = BinaryPrimitives.ReadUInt32BigEndian(header.AsSpan(28)), blockSize = BinaryPrimitives.ReadUInt32BigEndian(header.AsSpan(32));
        bool isRight = header.AsSpan(0, 8).SequenceEqual("cxsparse"u8) && blockSize >= 4096 && (blockSize & (blockSize - 1)) == 0
            && entries <= MaximumEntries && (ulong)entries * blockSize >= length;
        if (!isRight)
            throw new DiskImageException($"{file.Path}: the header of the dynamic VHD image is damaged");
        byte[] bytes = file.Read(BinaryPrimitives.ReadUInt64BigEndian(header.AsSpan(16)), (int)entries * 4);
        var table = new uint[entries];
        for (int i = 0; i < table.Length; i++)
            table[i] = BinaryPrimitives.ReadUInt32BigEndian(bytes.AsSpan(i * 4));
        return new VhdImage(file, length, table, blockSize);
    }

    /// <summary>True when a file ends, or begins, with a VHD footer.</summary>
    internal static bool IsFooter(ReadOnlySpan<byte> sector) => sector.StartsWith("conectix"u8);

    /// <inheritdoc/>
    protected override void Dispose(bool disposing) => _file.Dispose();

    private protected override ImagePlace Locate(ulong offset, ulong length, bool isData)
    {
        if (_table is null)
            return new ImagePlace(_file, offset, length);
        ulong block = offset / _blockSize, inside = offset % _blockSize;
        length = Math.Min(length, _blockSize - inside);
        if (block >= (ulong)_table.Length || _table[block] == Unallocated)
            return new ImagePlace(null, 0, length);
        return new ImagePlace(_file, ((ulong)_table[block] * IBlockBackend.SectorSize) + _bitmapSize + inside, length);
    }

    private static byte[] FindFooter(ImageFile file)
    {
        // Old versions of Virtual PC wrote footers of 511 bytes; the copy at the beginning of dynamic images is whole.
        ulong[] places = file.Length < FooterLength ? [0] : [file.Length - FooterLength, 0];
        foreach (ulong place in places)
        {
            byte[] footer = file.Read(place, FooterLength);
            if (!IsFooter(footer))
                continue;
            uint sum = 0;
            for (int i = 0; i < footer.Length; i++)
                sum += i is >= ChecksumOffset and < ChecksumOffset + 4 ? 0u : footer[i];
            if (~sum == BinaryPrimitives.ReadUInt32BigEndian(footer.AsSpan(ChecksumOffset)))
                return footer;
        }

        throw new DiskImageException($"{file.Path}: is no VHD image, or its footer is damaged");
    }
}
