using System.Buffers.Binary;
using Doppel.Devices.Storage;

namespace Doppel.Devices.Virtio;

/// <summary>What a block request asks for (virtio 1.2, 5.2.6): a header, data in either direction, and a status byte at the end.</summary>
internal readonly struct VirtioBlockRequest
{
    internal const uint ReadData = 0, WriteData = 1, Flush = 4, GetId = 8, Discard = 11, WriteZeroes = 13;
    internal const byte Ok = 0, IoError = 1, Unsupported = 2;

    /// <summary>Bytes of the header.</summary>
    internal const int HeaderLength = 16;

    /// <summary>Bytes of one range of a discard or write-zeroes request.</summary>
    internal const int RangeLength = 16;

    /// <summary>Bytes of a serial number.</summary>
    internal const int IdLength = 20;

    private VirtioBlockRequest(uint type, ulong sector)
    {
        Type = type;
        Sector = sector;
    }

    /// <summary>What is asked for.</summary>
    internal uint Type { get; }

    /// <summary>First sector of 512 bytes.</summary>
    internal ulong Sector { get; }

    /// <summary>Reads the header of a chain.</summary>
    /// <returns>False when there is no room for header and status.</returns>
    internal static bool TryRead(VirtioChain chain, out VirtioBlockRequest request)
    {
        Span<byte> header = stackalloc byte[HeaderLength];
        if (chain.WritableLength == 0 || chain.Read(0, header) != HeaderLength)
        {
            request = default;
            return false;
        }

        request = new VirtioBlockRequest(BinaryPrimitives.ReadUInt32LittleEndian(header), BinaryPrimitives.ReadUInt64LittleEndian(header[8..]));
        return true;
    }

    /// <summary>The offset in bytes of a range on a medium; null when it does not lie inside or isn't whole sectors.</summary>
    internal static ulong? Locate(ulong sector, ulong length, ulong capacity)
    {
        if (length % IBlockBackend.SectorSize != 0 || sector > capacity / IBlockBackend.SectorSize)
            return null;
        ulong offset = sector * IBlockBackend.SectorSize;
        return length <= capacity - offset ? offset : null;
    }
}
