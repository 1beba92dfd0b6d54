using System.Buffers.Binary;
using System.IO.Compression;
using Doppel.Devices.Storage.Images;

namespace Doppel.Devices.Storage.Vmdk;

/// <summary>A hosted sparse extent, plain or stream-optimised (VMware, "Virtual Disk Format 5.0").</summary>
internal sealed class VmdkSparseExtent : IDisposable
{
    private const uint HasZeroGrains = 1 << 2;
    private const uint IsCompressed = 1 << 16;
    private const ulong AtEnd = ulong.MaxValue;
    private const int Sector = IBlockBackend.SectorSize;
    private readonly ImageFile _file;
    private readonly uint _flags;
    private readonly ulong _grainSize;
    private readonly uint _entries;
    private readonly uint[] _directory;
    private readonly Lock _lock = new();
    private readonly Dictionary<uint, uint[]> _tables = [];
    private (uint Place, byte[] Bytes) _grain;

    /// <summary>Opens an extent.</summary>
    /// <param name="file">Its file; disposed with it.</param>
    /// <exception cref="DiskImageException">It is none.</exception>
    internal VmdkSparseExtent(ImageFile file)
    {
        _file = file;
        byte[] header = file.Read(0, Sector);
        if (U64(header, 56) == AtEnd && file.Length >= 3 * Sector)
            header = file.Read(file.Length - (2 * Sector), Sector);
        _flags = U32(header, 8);
        Capacity = U64(header, 12) * Sector;
        _grainSize = U64(header, 20) * Sector;
        _entries = U32(header, 44);
        DescriptorOffset = U64(header, 28) * Sector;
        DescriptorLength = U64(header, 36) * Sector;
        bool isRight = header.AsSpan().StartsWith("KDMV"u8) && U32(header, 4) is >= 1 and <= 3 && Capacity <= 1UL << 50
            && _grainSize is >= 4096 and <= 64 << 20 && (_grainSize & (_grainSize - 1)) == 0 && _entries is > 0 and <= 4096 && DescriptorLength <= 1 << 20
            && BinaryPrimitives.ReadUInt16LittleEndian(header.AsSpan(77)) <= 1;
        ulong span = _grainSize * Math.Max(_entries, 1), tables = isRight ? (Capacity + span - 1) / span : 0;
        if (!isRight || tables > 1 << 24)
            throw new DiskImageException($"{file.Path}: the header of the VMDK image is damaged, or of a version that isn't known");
        _directory = ReadTable(U64(header, 56) * Sector, (int)tables);
    }

    /// <summary>Bytes of the disk that the extent has.</summary>
    internal ulong Capacity { get; }

    internal ulong DescriptorOffset { get; }

    internal ulong DescriptorLength { get; }

    /// <summary>Finds bytes of the extent.</summary>
    internal ImagePlace Locate(ulong offset, ulong length, bool isData)
    {
        ulong grain = offset / _grainSize, inside = offset % _grainSize;
        length = Math.Min(length, _grainSize - inside);
        uint table = grain / _entries < (ulong)_directory.Length ? _directory[grain / _entries] : 0;
        uint place = table == 0 ? 0 : Table(table)[grain % _entries];
        if (place == 0 || (place == 1 && (_flags & HasZeroGrains) != 0))
            return new ImagePlace(null, 0, length);
        if ((_flags & IsCompressed) == 0)
            return new ImagePlace(_file, ((ulong)place * Sector) + inside, length);
        return new ImagePlace(null, inside, length, isData ? Decompress(place) : []);
    }

    public void Dispose() => _file.Dispose();

    private static uint U32(byte[] bytes, int at) => BinaryPrimitives.ReadUInt32LittleEndian(bytes.AsSpan(at));

    private static ulong U64(byte[] bytes, int at) => BinaryPrimitives.ReadUInt64LittleEndian(bytes.AsSpan(at));

    private uint[] Table(uint sector)
    {
        lock (_lock)
        {
            if (!_tables.TryGetValue(sector, out uint[]? table))
            {
                if (_tables.Count >= 4096)
                    _tables.Clear();
                _tables[sector] = table = ReadTable((ulong)sector * Sector, (int)_entries);
            }

            return table;
        }
    }

    private uint[] ReadTable(ulong offset, int entries)
    {
        byte[] bytes = _file.Read(offset, entries * 4);
        var table = new uint[entries];
        for (int i = 0; i < entries; i++)
            table[i] = U32(bytes, i * 4);
        return table;
    }

    /// <summary>A grain: its sector on the disk, the number of compressed bytes, and those, with zlib's header.</summary>
    private byte[] Decompress(uint place)
    {
        lock (_lock)
        {
            if (_grain.Bytes is not null && _grain.Place == place)
                return _grain.Bytes;
        }

        ulong offset = (ulong)place * Sector;
        uint length = U32(_file.Read(offset, 12), 8);
        if (length > _grainSize * 2)
            throw new ImageDamageException($"the grain at sector {place} has {length} compressed bytes");
        byte[] bytes = new byte[_grainSize];
        try
        {
            using var stream = new ZLibStream(new MemoryStream(_file.Read(offset + 12, (int)length)), CompressionMode.Decompress);
            _ = stream.ReadAtLeast(bytes, bytes.Length, throwOnEndOfStream: false);
        }
        catch (InvalidDataException)
        {
            throw new ImageDamageException($"the grain at sector {place} can't be decompressed");
        }

        lock (_lock)
            _grain = (place, bytes);
        return bytes;
    }
}
