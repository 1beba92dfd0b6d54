using System.Buffers.Binary;
using Doppel.Devices.Storage.Images;
using Doppel.Host.Compression;
using Doppel.Vmm.Execution;

namespace Doppel.Vmm.Migration;

/// <summary>A piece of a disk as it goes over the wire: the disk's number (1 byte), how its bytes are written (1 byte), its offset (8 bytes), its length (4 bytes), its bytes.</summary>
internal static class DiskBlock
{
    /// <summary>Longest piece.</summary>
    internal const int LongestPiece = 1 << 20;

    /// <summary>Longest frame of one.</summary>
    internal const int LongestBlock = HeaderLength + LongestPiece;

    private const int HeaderLength = 14;
    private const byte Plain = 0, Compressed = 1, Zeros = 2;

    /// <summary>Writes a piece.</summary>
    /// <returns>Bytes written.</returns>
    internal static int Write(int disk, ulong offset, ReadOnlySpan<byte> bytes, bool compresses, Span<byte> target)
    {
        target[0] = (byte)disk;
        BinaryPrimitives.WriteUInt64LittleEndian(target[2..], offset);
        BinaryPrimitives.WriteInt32LittleEndian(target[10..], bytes.Length);
        if (!bytes.ContainsAnyExcept((byte)0))
        {
            target[1] = Zeros;
            return HeaderLength;
        }

        int compressed = compresses ? Zstandard.Compress(bytes, target.Slice(HeaderLength, bytes.Length), Zstandard.FastLevel) : -1;
        target[1] = compressed < 0 ? Plain : Compressed;
        if (compressed < 0)
            bytes.CopyTo(target[HeaderLength..]);
        return HeaderLength + (compressed < 0 ? bytes.Length : compressed);
    }

    /// <summary>Puts a piece into the disk that is copied.</summary>
    /// <exception cref="IOException">It is none, or not for one of these disks.</exception>
    internal static void Read(byte[] block, IReadOnlyList<MachineDisk> disks, IReadOnlyList<OfferedDisk> offered)
    {
        if (block.Length < HeaderLength || block[0] >= disks.Count || !offered[block[0]].IsCopied)
            throw new IOException("a piece of a disk that is not copied");
        DiskImage image = disks[block[0]].Image;
        ulong offset = BinaryPrimitives.ReadUInt64LittleEndian(block.AsSpan(2));
        int length = BinaryPrimitives.ReadInt32LittleEndian(block.AsSpan(10));
        if (length is <= 0 or > LongestPiece || offset > image.Length || (ulong)length > image.Length - offset)
            throw new IOException($"{length} bytes at {offset} are no piece of a disk of {image.Length} bytes");
        ReadOnlyMemory<byte> bytes = block.AsMemory(HeaderLength);
        if (block[1] == Zeros)
        {
            image.WriteZeroes(offset, (ulong)length, mayFree: true);
            return;
        }

        if (block[1] == Compressed)
        {
            byte[] whole = new byte[length];
            if (Zstandard.Decompress(bytes.Span, whole) != length)
                throw new IOException("a piece of a disk is damaged");
            bytes = whole;
        }

        if (block[1] > Zeros || bytes.Length != length)
            throw new IOException($"a piece of a disk has {bytes.Length} bytes; {length} would be right");
        image.Write(offset, bytes);
    }
}
