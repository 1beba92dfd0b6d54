using System.Buffers.Binary;

namespace Doppel.Devices.SharedFolders;

/// <summary>
/// A FUSE request: the header, and behind it what the opcode needs. It is a copy, since a guest may change its memory
/// while the request is being worked on. What lies beyond the end reads as zeros and as empty names.
/// </summary>
internal readonly ref struct FuseRequest
{
    /// <summary>Bytes of struct fuse_in_header.</summary>
    internal const int HeaderLength = 40;

    private readonly ReadOnlySpan<byte> _bytes;

    /// <param name="bytes">Header and arguments; at least <see cref="HeaderLength"/>.</param>
    internal FuseRequest(ReadOnlySpan<byte> bytes)
    {
        _bytes = bytes;
        uint length = BinaryPrimitives.ReadUInt32LittleEndian(bytes);
        Arguments = length < HeaderLength ? default : bytes[HeaderLength..(int)Math.Min(length, (uint)bytes.Length)];
    }

    internal FuseOpcode Opcode => (FuseOpcode)BinaryPrimitives.ReadUInt32LittleEndian(_bytes[4..]);

    /// <summary>What the answer is known by.</summary>
    internal ulong Unique => BinaryPrimitives.ReadUInt64LittleEndian(_bytes[8..]);

    internal ulong Node => BinaryPrimitives.ReadUInt64LittleEndian(_bytes[16..]);

    /// <summary>What follows the header.</summary>
    internal ReadOnlySpan<byte> Arguments { get; }

    internal uint UInt32(int offset) => offset + 4 <= Arguments.Length ? BinaryPrimitives.ReadUInt32LittleEndian(Arguments[offset..]) : 0;

    internal ulong UInt64(int offset) => offset + 8 <= Arguments.Length ? BinaryPrimitives.ReadUInt64LittleEndian(Arguments[offset..]) : 0;

    /// <summary>A name that ends with a zero byte.</summary>
    internal ReadOnlySpan<byte> Name(int offset)
    {
        ReadOnlySpan<byte> rest = offset < Arguments.Length ? Arguments[offset..] : default;
        int end = rest.IndexOf((byte)0);
        return end < 0 ? default : rest[..end];
    }
}
