using System.Buffers;
using Doppel.Host.Files;
using Microsoft.Win32.SafeHandles;

namespace Doppel.Host.Folders;

/// <summary>An open plain file of a folder. Members return the number of an error, zero for none; any thread may call them.</summary>
public sealed unsafe class FolderFile : IDisposable
{
    /// <summary>What of open(2)'s flags is heeded.</summary>
    internal const int Flags = FolderFlags.AccessMode | FolderFlags.Append | FolderFlags.Truncate | FolderFlags.Sync;

    private readonly SafeFileHandle _handle;

    internal FolderFile(SafeFileHandle handle) => _handle = handle;

    /// <summary>True when flags of open(2) ask for more than reading.</summary>
    public static bool WantsToWrite(int flags) => (flags & FolderFlags.AccessMode) != 0 || (flags & FolderFlags.Truncate) != 0;

    /// <summary>The flags without what must not happen again when a file is opened once more.</summary>
    public static int ForReopening(int flags) => flags & Flags & ~FolderFlags.Truncate;

    /// <summary>Reads into buffers, one after the other.</summary>
    /// <param name="offset">First byte of the file.</param>
    /// <param name="buffers">The buffers.</param>
    /// <param name="count">Bytes read: fewer than there is room for at the file's end.</param>
    public int Read(ulong offset, List<Memory<byte>> buffers, out long count) => Transfer(offset, buffers, isWrite: false, out count);

    /// <summary>Writes buffers, one after the other.</summary>
    /// <param name="offset">First byte of the file.</param>
    /// <param name="buffers">The buffers; only read.</param>
    /// <param name="count">Bytes written; with an error, those before it.</param>
    public int Write(ulong offset, List<Memory<byte>> buffers, out long count) => Transfer(offset, buffers, isWrite: true, out count);

    /// <summary>Makes what was written survive a loss of power.</summary>
    /// <param name="dataOnly">True for the content only.</param>
    public int Sync(bool dataOnly) => FolderNode.Result(dataOnly ? FileCalls.DataSync(_handle) : FolderCalls.Sync(_handle));

    /// <summary>Sets the length.</summary>
    public int SetLength(ulong length) => length > long.MaxValue ? FolderError.Invalid : FolderNode.Result(FileCalls.Truncate(_handle, (long)length));

    /// <summary>Reserves or frees space (fallocate(2)).</summary>
    public int Allocate(int mode, ulong offset, ulong length) =>
        offset > long.MaxValue || length > long.MaxValue ? FolderError.Invalid : FolderNode.Result(FileCalls.Allocate(_handle, mode, (long)offset, (long)length));

    /// <summary>Finds data or a hole (lseek(2)).</summary>
    /// <param name="offset">Where to begin.</param>
    /// <param name="whence">SEEK_DATA (3) or SEEK_HOLE (4).</param>
    /// <param name="found">Where it is.</param>
    public int Find(ulong offset, uint whence, out ulong found)
    {
        found = 0;
        if (whence is not (FileFlags.SeekData or FileFlags.SeekHole) || offset > long.MaxValue)
            return FolderError.Invalid;
        long at = FileCalls.Seek(_handle, (long)offset, (int)whence);
        if (at == -1)
            return FolderNode.LastError();
        found = (ulong)at;
        return 0;
    }

    /// <summary>Copies to another file without passing the bytes through this process.</summary>
    public int CopyTo(ulong offset, FolderFile target, ulong targetOffset, ulong length, out ulong count)
    {
        ArgumentNullException.ThrowIfNull(target);
        count = 0;
        if (offset > long.MaxValue || targetOffset > long.MaxValue)
            return FolderError.Invalid;
        long from = (long)offset, to = (long)targetOffset;
        nint done = FolderCalls.Copy(_handle, &from, target._handle, &to, (nuint)Math.Min(length, 1UL << 30), 0);
        if (done == -1)
            return FolderNode.LastError();
        count = (ulong)done;
        return 0;
    }

    /// <inheritdoc/>
    public void Dispose() => _handle.Dispose();

    private int Transfer(ulong offset, List<Memory<byte>> buffers, bool isWrite, out long total)
    {
        ArgumentNullException.ThrowIfNull(buffers);
        total = 0;
        if (offset > long.MaxValue)
            return FolderError.Invalid;
        for (int first = 0; first < buffers.Count; first += FileFlags.MaximumVectors)
        {
            int count = Math.Min(buffers.Count - first, FileFlags.MaximumVectors);
            long length = 0;
            for (int i = 0; i < count; i++)
                length += buffers[first + i].Length;
            int error = TransferSome((long)offset + total, buffers, first, count, isWrite, out long done);
            total += done;
            // What was done before an error counts; the error shows again when the rest is tried.
            if (error != 0 || done < length)
                return total != 0 ? 0 : error;
        }

        return 0;
    }

    private int TransferSome(long offset, List<Memory<byte>> buffers, int first, int count, bool isWrite, out long done)
    {
        IoVectorEntry* vectors = stackalloc IoVectorEntry[count];
        MemoryHandle[] pins = ArrayPool<MemoryHandle>.Shared.Rent(count);
        int pinned = 0;
        try
        {
            for (; pinned < count; pinned++)
            {
                Memory<byte> buffer = buffers[first + pinned];
                pins[pinned] = buffer.Pin();
                vectors[pinned] = new IoVectorEntry { Base = pins[pinned].Pointer, Length = (nuint)buffer.Length };
            }

            while (true)
            {
                done = isWrite ? FileCalls.WriteVector(_handle, vectors, count, offset) : FileCalls.ReadVector(_handle, vectors, count, offset, 0);
                if (done >= 0)
                    return 0;
                int error = FolderNode.LastError();
                if (error == FileFlags.Interrupted)
                    continue;
                done = 0;
                return error;
            }
        }
        finally
        {
            for (int i = 0; i < pinned; i++)
                pins[i].Dispose();
            ArrayPool<MemoryHandle>.Shared.Return(pins, clearArray: true);
        }
    }
}
