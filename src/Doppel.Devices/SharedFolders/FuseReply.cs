using System.Buffers.Binary;
using Doppel.Devices.Virtio;
using Doppel.Host.Folders;

namespace Doppel.Devices.SharedFolders;

/// <summary>Writes the answer to a FUSE request into the buffers that its chain has for it: a header, and behind it fields one after the other.</summary>
/// <param name="chain">The chain.</param>
internal sealed class FuseReply(VirtioChain chain)
{
    /// <summary>Bytes of struct fuse_out_header.</summary>
    internal const int HeaderLength = 16;

    /// <summary>Bytes of struct fuse_entry_out.</summary>
    internal const int EntryLength = 128;

    // For so long a guest doesn't ask again: what changes on the host shows after a second at the latest.
    private const ulong ValidSeconds = 1;
    private readonly byte[] _fields = new byte[512];
    private int _length;
    private long _dataLength;

    /// <summary>Bytes behind the header for which there is room.</summary>
    internal uint Room => chain.WritableLength > HeaderLength ? chain.WritableLength - HeaderLength : 0;

    /// <summary>The fields that were written so far.</summary>
    internal ReadOnlySpan<byte> Fields => _fields.AsSpan(0, _length);

    internal FuseReply UInt16(ushort value)
    {
        BinaryPrimitives.WriteUInt16LittleEndian(_fields.AsSpan(_length), value);
        _length += 2;
        return this;
    }

    internal FuseReply UInt32(uint value)
    {
        BinaryPrimitives.WriteUInt32LittleEndian(_fields.AsSpan(_length), value);
        _length += 4;
        return this;
    }

    internal FuseReply UInt64(ulong value)
    {
        BinaryPrimitives.WriteUInt64LittleEndian(_fields.AsSpan(_length), value);
        _length += 8;
        return this;
    }

    internal FuseReply Zeros(int count)
    {
        _fields.AsSpan(_length, count).Clear();
        _length += count;
        return this;
    }

    /// <summary>struct fuse_entry_out.</summary>
    internal FuseReply Entry(ulong node, in FileStatus status, ulong inode) =>
        UInt64(node).UInt64(0).UInt64(ValidSeconds).UInt64(ValidSeconds).UInt32(0).UInt32(0).Attributes(status, inode);

    /// <summary>struct fuse_attr_out.</summary>
    internal FuseReply ValidAttributes(in FileStatus status, ulong inode) => UInt64(ValidSeconds).UInt32(0).UInt32(0).Attributes(status, inode);

    /// <summary>Takes the fields that were written, for an entry of a directory; what follows begins anew.</summary>
    internal ReadOnlySpan<byte> TakeFields()
    {
        int length = _length;
        _length = 0;
        return _fields.AsSpan(0, length);
    }

    /// <summary>Puts bytes into the answer, behind the header.</summary>
    internal void Data(long offset, ReadOnlySpan<byte> bytes)
    {
        _ = chain.Write((uint)(HeaderLength + offset), bytes);
        _dataLength = Math.Max(_dataLength, offset + bytes.Length);
    }

    /// <summary>Views of the room behind the header. <see cref="NoteData"/> follows.</summary>
    internal List<Memory<byte>> Views(uint length) => chain.GetWritableViews(HeaderLength, length);

    /// <summary>Says how much was written through <see cref="Views"/>.</summary>
    internal void NoteData(long length)
    {
        _dataLength = length;
        chain.NoteWritten((uint)(HeaderLength + length));
    }

    /// <summary>Ends the answer.</summary>
    /// <param name="unique">What it is known by.</param>
    /// <param name="error">The number of an error; zero for none.</param>
    /// <returns>Bytes written.</returns>
    internal uint Finish(ulong unique, int error)
    {
        if (chain.WritableLength < HeaderLength)
            return 0;
        if (error == 0 && Math.Max(_length, _dataLength) > Room)
            error = FolderError.Range;
        long length = error != 0 ? 0 : Math.Max(_length, _dataLength);
        Span<byte> header = stackalloc byte[HeaderLength];
        BinaryPrimitives.WriteUInt32LittleEndian(header, (uint)(HeaderLength + length));
        BinaryPrimitives.WriteInt32LittleEndian(header[4..], -error);
        BinaryPrimitives.WriteUInt64LittleEndian(header[8..], unique);
        if (error == 0 && _length != 0)
            _ = chain.Write(HeaderLength, _fields.AsSpan(0, _length));
        _ = chain.Write(0, header);
        return (uint)(HeaderLength + length);
    }

    private FuseReply Attributes(in FileStatus status, ulong inode)
    {
        uint major = (uint)(status.SpecialDevice >> 32), minor = (uint)status.SpecialDevice;
        return UInt64(inode).UInt64(status.Size).UInt64(status.Blocks)
            .UInt64((ulong)status.Accessed.Seconds).UInt64((ulong)status.Modified.Seconds).UInt64((ulong)status.Changed.Seconds)
            .UInt32(status.Accessed.Nanoseconds).UInt32(status.Modified.Nanoseconds).UInt32(status.Changed.Nanoseconds)
            .UInt32(status.Mode).UInt32(status.Links).UInt32(status.User).UInt32(status.Group)
            // The kernel's 32-bit form of a device number: 12 bits of the minor number above the major one's.
            .UInt32((minor & 0xFF) | (major << 8) | ((minor & ~0xFFu) << 12))
            .UInt32(status.BlockSize).UInt32(0);
    }
}
