using System.Buffers;
using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;

namespace Doppel.Host.Files;

/// <summary>
/// A file or block device that is read and written at offsets. All members may be called by any thread; they block until
/// the kernel has done what was asked. Offsets and lengths are bytes. Errors are <see cref="HostException"/>s, which
/// <see cref="FileError"/> tells apart.
/// </summary>
public sealed unsafe class HostFile : IDisposable
{
    private const uint Permissions = 0x1B4;
    private readonly SafeFileHandle _handle;

    /// <summary>Opens a file.</summary>
    /// <param name="path">Its path.</param>
    /// <param name="mode">How.</param>
    /// <exception cref="HostException">The host refuses.</exception>
    public HostFile(string path, HostFileMode mode)
    {
        Path = path;
        int flags = mode switch
        {
            HostFileMode.Read => FileFlags.ReadOnly,
            HostFileMode.ReadWrite => FileFlags.ReadWrite,
            HostFileMode.CreateNew => FileFlags.ReadWrite | FileFlags.Create | FileFlags.Exclusive,
            _ => FileFlags.ReadWrite | FileFlags.TemporaryFile,
        };
        int descriptor = (int)HostError.Check(FileCalls.Open(path, flags | FileFlags.CloseOnExec, Permissions), "open", path);
        _handle = new SafeFileHandle(descriptor, ownsHandle: true);
    }

    /// <summary>Opens a file to whose end is added, whoever else does so too; made if there is none.</summary>
    /// <param name="path">Its path.</param>
    /// <exception cref="HostException">The host refuses.</exception>
    public static FileStream OpenToAppend(string path)
    {
        const int Flags = FileFlags.WriteOnly | FileFlags.Create | FileFlags.Append | FileFlags.CloseOnExec;
        int descriptor = (int)HostError.Check(FileCalls.Open(path, Flags, Permissions), "open", path);
        return new FileStream(new SafeFileHandle(descriptor, ownsHandle: true), FileAccess.Write, bufferSize: 0);
    }

    /// <summary>Gives a file one more name on its file system.</summary>
    /// <returns>False when that can't be: another file system, one without such links, or somebody else's file.</returns>
    public static bool TryLink(string existing, string name) => FileCalls.Link(existing, name) == 0;

    /// <summary>The path that was given.</summary>
    public string Path { get; }

    /// <summary>The open file.</summary>
    internal SafeFileHandle Handle => _handle;

    /// <summary>The file's length, also of a block device.</summary>
    public long Length => Seek(0, FileFlags.SeekEnd);

    /// <summary>Fills buffers that lie one after the other in the file; what is beyond its end reads as zeros.</summary>
    public void Read(long offset, ReadOnlySpan<Memory<byte>> buffers)
    {
        long done = Transfer(buffers, offset, isWrite: false, flags: 0);
        Clear(buffers, done);
    }

    /// <summary>Fills a buffer; what is beyond the file's end reads as zeros.</summary>
    public void Read(long offset, Memory<byte> buffer) => Read(offset, [buffer]);

    /// <summary>Fills the buffers if all their bytes are in the host's page cache, without waiting for the medium.</summary>
    /// <returns>False when it would have to wait, or the range isn't wholly inside the file; the buffers then hold nothing of use.</returns>
    public bool TryReadCached(long offset, ReadOnlySpan<Memory<byte>> buffers)
    {
        if (buffers.Length > FileFlags.MaximumVectors)
            return false;
        long length = 0;
        foreach (Memory<byte> buffer in buffers)
            length += buffer.Length;
        return Transfer(buffers, offset, isWrite: false, FileFlags.NoWait) == length;
    }

    /// <summary>Writes buffers one after the other.</summary>
    public void Write(long offset, ReadOnlySpan<Memory<byte>> buffers) => _ = Transfer(buffers, offset, isWrite: true, flags: 0);

    /// <summary>Writes a buffer.</summary>
    public void Write(long offset, ReadOnlyMemory<byte> buffer) => Write(offset, [MemoryMarshal.AsMemory(buffer)]);

    /// <summary>Makes everything that was written survive a loss of power (fdatasync).</summary>
    public void Sync()
    {
        int result;
        while ((result = FileCalls.DataSync(_handle)) == -1 && Marshal.GetLastPInvokeError() == FileFlags.Interrupted)
        {
        }

        if (result == -1 && Marshal.GetLastPInvokeError() != FileFlags.InvalidArgument)
            HostError.Throw("fdatasync", Path);
    }

    /// <summary>Frees the space of a range, which then reads as zeros; the length stays.</summary>
    /// <returns>False when the file system can't.</returns>
    public bool TryPunchHole(long offset, long length) => TryAllocate(FileFlags.PunchHole | FileFlags.KeepSize, offset, length);

    /// <summary>Makes a range read as zeros and keeps its space reserved; the length stays.</summary>
    /// <returns>False when the file system can't.</returns>
    public bool TryZero(long offset, long length) => TryAllocate(FileFlags.ZeroRange | FileFlags.KeepSize, offset, length);

    /// <summary>Reserves space for a range without changing what it reads; the file grows to the range's end.</summary>
    /// <returns>False when the file system can't.</returns>
    public bool TryReserve(long offset, long length) => TryAllocate(0, offset, length);

    /// <summary>Sets the file's length.</summary>
    public void SetLength(long length) => _ = HostError.Check(FileCalls.Truncate(_handle, length), "ftruncate", $"{Path} to {length} bytes");

    /// <summary>The first byte at or after an offset that is not in a hole; null when only a hole follows.</summary>
    public long? FindData(long offset) => FindFrom(offset, FileFlags.SeekData);

    /// <summary>The first byte at or after an offset that is in a hole, or the file's end; null beyond it.</summary>
    public long? FindHole(long offset) => FindFrom(offset, FileFlags.SeekHole);

    /// <summary>Takes a shared lock on a range of bytes; it belongs to this open file and ends with it (F_OFD_SETLK).</summary>
    /// <returns>False when someone has it exclusively.</returns>
    public bool TryLockShared(long offset, long length) => TrySetLock(FileFlags.ReadLock, offset, length);

    /// <summary>Gives a lock back.</summary>
    public void ReleaseLock(long offset, long length) => _ = TrySetLock(FileFlags.Unlock, offset, length);

    /// <summary>True when another open file holds any lock in a range (F_OFD_GETLK).</summary>
    public bool IsLockedByOther(long offset, long length)
    {
        var description = new LockDescription { Type = FileFlags.WriteLock, Whence = FileFlags.SeekSet, Start = offset, Length = length };
        _ = HostError.Check(FileCalls.Lock(_handle, FileFlags.GetOpenFileLock, &description), "fcntl", $"F_OFD_GETLK of {Path}");
        return description.Type != FileFlags.Unlock;
    }

    /// <inheritdoc/>
    public void Dispose() => _handle.Dispose();

    private static void Clear(ReadOnlySpan<Memory<byte>> buffers, long from)
    {
        foreach (Memory<byte> buffer in buffers)
        {
            if (from < buffer.Length)
                buffer.Span[(int)Math.Max(from, 0)..].Clear();
            from -= buffer.Length;
        }
    }

    private long Transfer(ReadOnlySpan<Memory<byte>> buffers, long offset, bool isWrite, int flags)
    {
        long total = 0;
        while (!buffers.IsEmpty)
        {
            int count = Math.Min(buffers.Length, FileFlags.MaximumVectors);
            (long done, bool isEnd) = TransferSome(buffers[..count], offset + total, isWrite, flags);
            total += done;
            if (isEnd)
                break;
            buffers = buffers[count..];
        }

        return total;
    }

    private (long Done, bool IsEnd) TransferSome(ReadOnlySpan<Memory<byte>> buffers, long offset, bool isWrite, int flags)
    {
        IoVectorEntry* vectors = stackalloc IoVectorEntry[buffers.Length];
        MemoryHandle[] pins = ArrayPool<MemoryHandle>.Shared.Rent(buffers.Length);
        int pinned = 0;
        try
        {
            for (; pinned < buffers.Length; pinned++)
            {
                pins[pinned] = buffers[pinned].Pin();
                vectors[pinned] = new IoVectorEntry { Base = pins[pinned].Pointer, Length = (nuint)buffers[pinned].Length };
            }

            long total = 0;
            int first = 0;
            while (first < buffers.Length)
            {
                if (vectors[first].Length == 0)
                {
                    first++;
                    continue;
                }

                nint done = isWrite
                    ? FileCalls.WriteVector(_handle, vectors + first, buffers.Length - first, offset + total)
                    : FileCalls.ReadVector(_handle, vectors + first, buffers.Length - first, offset + total, flags);
                if (done < 0)
                {
                    int errno = Marshal.GetLastPInvokeError();
                    if (errno == FileFlags.Interrupted)
                        continue;
                    if (flags == FileFlags.NoWait && errno is FileFlags.Again or FileFlags.NotSupported)
                        return (total, true);
                    HostError.Throw(isWrite ? "pwritev" : "preadv2", $"{Path} at {offset + total}");
                }

                if (done == 0 || (flags == FileFlags.NoWait && (ulong)done < Remaining(vectors + first, buffers.Length - first)))
                    return (total + done, true);
                total += done;
                while (done > 0)
                {
                    nuint part = Math.Min((nuint)done, vectors[first].Length);
                    vectors[first].Base = (byte*)vectors[first].Base + part;
                    vectors[first].Length -= part;
                    done -= (nint)part;
                    if (vectors[first].Length == 0)
                        first++;
                }
            }

            return (total, false);
        }
        finally
        {
            for (int i = 0; i < pinned; i++)
                pins[i].Dispose();
            ArrayPool<MemoryHandle>.Shared.Return(pins, clearArray: true);
        }
    }

    private static ulong Remaining(IoVectorEntry* vectors, int count)
    {
        ulong length = 0;
        for (int i = 0; i < count; i++)
            length += vectors[i].Length;
        return length;
    }

    private bool TryAllocate(int mode, long offset, long length)
    {
        int result;
        while ((result = FileCalls.Allocate(_handle, mode, offset, length)) == -1 && Marshal.GetLastPInvokeError() == FileFlags.Interrupted)
        {
        }

        if (result == 0)
            return true;
        if (Marshal.GetLastPInvokeError() is FileFlags.NotSupported or FileFlags.InvalidArgument)
            return false;
        HostError.Throw("fallocate", $"{Path} at {offset}, {length} bytes");
        return false;
    }

    private long Seek(long offset, int whence)
    {
        long result = FileCalls.Seek(_handle, offset, whence);
        if (result == -1)
            HostError.Throw("lseek", Path);
        return result;
    }

    private long? FindFrom(long offset, int whence)
    {
        long result = FileCalls.Seek(_handle, offset, whence);
        if (result != -1)
            return result;
        if (Marshal.GetLastPInvokeError() == FileFlags.NoSuchAddress)
            return null;
        HostError.Throw("lseek", $"{Path} at {offset}");
        return null;
    }

    private bool TrySetLock(short type, long offset, long length)
    {
        var description = new LockDescription { Type = type, Whence = FileFlags.SeekSet, Start = offset, Length = length };
        if (FileCalls.Lock(_handle, FileFlags.SetOpenFileLock, &description) != -1)
            return true;
        if (Marshal.GetLastPInvokeError() is FileFlags.Again or FileFlags.Access)
            return false;
        HostError.Throw("fcntl", $"F_OFD_SETLK of {Path}");
        return false;
    }
}
