using System.Buffers.Binary;
using Doppel.Host.Files;
using Microsoft.Win32.SafeHandles;

namespace Doppel.Host.Folders;

/// <summary>A directory that is being read. Not thread-safe.</summary>
public sealed unsafe class FolderReader : IDisposable
{
    private readonly SafeFileHandle _handle;
    private readonly byte[] _buffer = new byte[16384];
    private int _position;
    private int _end;

    internal FolderReader(SafeFileHandle handle) => _handle = handle;

    /// <summary>Goes to a place.</summary>
    /// <param name="position">Zero, or <see cref="FolderEntry.Next"/> of an entry.</param>
    /// <returns>The number of an error, zero for none.</returns>
    public int Seek(ulong position)
    {
        _position = 0;
        _end = 0;
        return position > long.MaxValue ? FolderError.Invalid : FileCalls.Seek(_handle, (long)position, FileFlags.SeekSet) == -1 ? FolderNode.LastError() : 0;
    }

    /// <summary>Reads the next entry.</summary>
    /// <param name="entry">The entry; it is good until the next call. Without a name at the end.</param>
    /// <returns>The number of an error, zero for none.</returns>
    public int Read(out FolderEntry entry)
    {
        // struct linux_dirent64: inode, next position, length, type, name with a zero behind it (getdents(2)).
        const int NameOffset = 19;
        entry = default;
        if (_position == _end)
        {
            nint count;
            fixed (byte* buffer = _buffer)
                count = FolderCalls.ReadDirectory(_handle, buffer, (nuint)_buffer.Length);
            if (count == -1)
                return FolderNode.LastError();
            _position = 0;
            _end = (int)count;
            if (count == 0)
                return 0;
        }

        ReadOnlySpan<byte> bytes = _buffer.AsSpan(_position, _end - _position);
        int length = BinaryPrimitives.ReadUInt16LittleEndian(bytes[16..]);
        ReadOnlySpan<byte> name = bytes[NameOffset..length];
        entry = new FolderEntry(
            BinaryPrimitives.ReadUInt64LittleEndian(bytes), BinaryPrimitives.ReadUInt64LittleEndian(bytes[8..]), bytes[18], name[..name.IndexOf((byte)0)]);
        _position += length;
        return 0;
    }

    /// <summary>Makes changes of the directory survive a loss of power.</summary>
    public int Sync() => FolderNode.Result(FolderCalls.Sync(_handle));

    /// <inheritdoc/>
    public void Dispose() => _handle.Dispose();
}

/// <summary>An entry of a directory.</summary>
/// <param name="inode">Number of the file.</param>
/// <param name="next">Where the entry behind it is.</param>
/// <param name="type">Kind of file: bits 12 to 15 of its mode; zero when the file system doesn't say.</param>
/// <param name="name">Its name; empty behind the last.</param>
public readonly ref struct FolderEntry(ulong inode, ulong next, byte type, ReadOnlySpan<byte> name)
{
    /// <summary>Number of the file.</summary>
    public ulong Inode { get; } = inode;

    /// <summary>Where the entry behind it is.</summary>
    public ulong Next { get; } = next;

    /// <summary>Kind of file: bits 12 to 15 of its mode; zero when the file system doesn't say.</summary>
    public byte Type { get; } = type;

    /// <summary>Its name; empty behind the last.</summary>
    public ReadOnlySpan<byte> Name { get; } = name;
}
