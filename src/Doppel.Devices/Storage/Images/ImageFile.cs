using Doppel.Host;
using Doppel.Host.Files;

namespace Doppel.Devices.Storage.Images;

/// <summary>
/// The file under an image: a <see cref="HostFile"/> that is locked, and whose errors say what they mean to an image. A
/// file that is written is nobody else's to write; one that is read is nobody's to write.
/// <para>
/// The locks are those that QEMU takes (block/file-posix.c, "raw_apply_lock_bytes"): on open file descriptions, byte
/// 100 + n says "I do n", byte 200 + n says "nobody else may do n", where n is 0 for consistent reading, 1 for writing, 3
/// for resizing. So QEMU and Doppel keep each other away, too.
/// </para>
/// </summary>
public sealed class ImageFile : IDisposable
{
    /// <summary>Bytes of a page of the host's cache: what is written in whole pages need not be read first.</summary>
    internal const int PageSize = 4096;

    private const int ReadPermission = 0;
    private const int WritePermission = 1;
    private const int ResizePermission = 3;
    private const long DoesBase = 100;
    private const long ForbidsBase = 200;
    private const long LockedBytes = 8;
    private readonly HostFile _file;

    private ImageFile(HostFile file, bool isReadOnly)
    {
        _file = file;
        IsReadOnly = isReadOnly;
    }

    /// <summary>The path that was given.</summary>
    public string Path => _file.Path;

    /// <summary>True when the file can't be written.</summary>
    public bool IsReadOnly { get; }

    /// <summary>Told of all that changes the file's bytes, before it happens; null for nobody. Tests lose what was not made durable.</summary>
    internal IImageFileObserver? Observer { get; set; }

    /// <summary>Bytes of the file.</summary>
    public ulong Length => (ulong)Guard(() => _file.Length);

    /// <summary>Opens a file and locks it.</summary>
    /// <param name="path">The path.</param>
    /// <param name="isReadOnly">True to read only.</param>
    /// <param name="isShared">True to read although someone else may be writing, without a lock; what is read may then not fit together.</param>
    /// <exception cref="DiskImageException">There is no such file, the user may not, or someone else uses it.</exception>
    public static ImageFile Open(string path, bool isReadOnly, bool isShared = false)
    {
        if (Directory.Exists(path))
            throw new DiskImageException($"{path}: is a directory; a disk image would be right");
        HostFile file = OpenFile(path, isReadOnly ? HostFileMode.Read : HostFileMode.ReadWrite);
        return isReadOnly && isShared ? new ImageFile(file, isReadOnly) : Locked(file, isReadOnly);
    }

    /// <summary>Creates a file and locks it.</summary>
    /// <exception cref="DiskImageException">There is one already, or the user may not.</exception>
    public static ImageFile Create(string path) => Locked(OpenFile(path, HostFileMode.CreateNew), false);

    /// <summary>Creates a file without a name, which ends when it is closed, however that happens.</summary>
    /// <param name="directory">Where its space is taken from.</param>
    /// <exception cref="DiskImageException">The directory can't be written.</exception>
    public static ImageFile CreateNameless(string directory)
    {
        try
        {
            return new ImageFile(new HostFile(directory, HostFileMode.Nameless), false);
        }
        catch (HostException)
        {
            // Not every file system has such files.
            string path = System.IO.Path.Combine(directory, $".doppel-{Guid.NewGuid():N}");
            var file = new ImageFile(OpenFile(path, HostFileMode.CreateNew), false);
            File.Delete(path);
            return file;
        }
    }

    /// <summary>Fills buffers; zeros beyond the end.</summary>
    public void Read(ulong offset, BufferList buffers)
    {
        try
        {
            _file.Read((long)offset, buffers.Segments);
        }
        catch (HostException e)
        {
            throw Meaning(e);
        }
    }

    /// <summary>Fills one buffer; zeros beyond the end.</summary>
    public void Read(ulong offset, Memory<byte> buffer) => Read(offset, new BufferList(buffer));

    /// <summary>Reads a number of bytes; zeros beyond the end.</summary>
    public byte[] Read(ulong offset, int length)
    {
        byte[] bytes = new byte[length];
        Read(offset, bytes.AsMemory());
        return bytes;
    }

    /// <summary>Fills buffers if the page cache has them.</summary>
    public bool TryReadCached(ulong offset, BufferList buffers)
    {
        try
        {
            return _file.TryReadCached((long)offset, buffers.Segments);
        }
        catch (HostException)
        {
            return false;
        }
    }

    /// <summary>Writes buffers.</summary>
    /// <exception cref="StorageFullException">The host has no room.</exception>
    public void Write(ulong offset, BufferList buffers)
    {
        Observer?.Writing(offset, buffers);
        try
        {
            _file.Write((long)offset, buffers.Segments);
        }
        catch (HostException e)
        {
            throw Meaning(e);
        }
    }

    /// <summary>Writes one buffer.</summary>
    public void Write(ulong offset, ReadOnlyMemory<byte> buffer) => Write(offset, BufferList.ForWriting(buffer));

    /// <summary>Makes what was written survive a loss of power.</summary>
    public void Sync()
    {
        _ = Guard(() =>
        {
            _file.Sync();
            return 0;
        });
        Observer?.Synced();
    }

    /// <summary>Frees a range, which then reads as zeros; false when the host can't.</summary>
    public bool TryPunchHole(ulong offset, ulong length)
    {
        Observer?.Punching(offset, length);
        return Guard(() => _file.TryPunchHole((long)offset, (long)length));
    }

    /// <summary>Zeroes a range and keeps its space; false when the host can't.</summary>
    public bool TryZero(ulong offset, ulong length) => Guard(() => _file.TryZero((long)offset, (long)length));

    /// <summary>Reserves space; false when the host can't.</summary>
    public bool TryReserve(ulong offset, ulong length) => Guard(() => _file.TryReserve((long)offset, (long)length));

    /// <summary>Sets the file's length.</summary>
    public void SetLength(ulong length) => Guard(() =>
    {
        _file.SetLength((long)length);
        return 0;
    });

    /// <summary>Where the file has data from an offset on: the kind and its length, at most the given one.</summary>
    public ImageExtent GetExtent(ulong offset, ulong length) => Guard(() =>
    {
        if (_file.FindData((long)offset) is not long data)
            return new ImageExtent(ExtentKind.Zero, length);
        if ((ulong)data > offset)
            return new ImageExtent(ExtentKind.Zero, Math.Min(length, (ulong)data - offset));
        ulong hole = (ulong)(_file.FindHole((long)offset) ?? long.MaxValue);
        return new ImageExtent(ExtentKind.Data, Math.Min(length, hole - offset));
    });

    /// <summary>Bytes of a file that are not in holes.</summary>
    /// <exception cref="DiskImageException">There is no such file, or the user may not.</exception>
    public static ulong AllocatedBytes(string path)
    {
        using ImageFile file = Open(path, isReadOnly: true, isShared: true);
        ulong length = file.Length, bytes = 0;
        for (ulong offset = 0; offset < length;)
        {
            ImageExtent extent = file.GetExtent(offset, length - offset);
            bytes += extent.Kind == ExtentKind.Data ? extent.Length : 0;
            offset += extent.Length;
        }

        return bytes;
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        try
        {
            // A child that was just forked has the open file, too, and would keep the locks until it executes its program.
            _file.ReleaseLock(DoesBase, ForbidsBase - DoesBase + LockedBytes);
        }
        catch (Exception e) when (e is HostException or ObjectDisposedException)
        {
            // The descriptor's end releases them.
        }

        _file.Dispose();
    }

    private static ImageFile Locked(HostFile file, bool isReadOnly)
    {
        try
        {
            int[] does = isReadOnly ? [ReadPermission] : [ReadPermission, WritePermission, ResizePermission];
            int[] forbids = [WritePermission, ResizePermission];
            bool isFree = does.All(n => file.TryLockShared(DoesBase + n, 1)) && forbids.All(n => file.TryLockShared(ForbidsBase + n, 1))
                && !does.Any(n => file.IsLockedByOther(ForbidsBase + n, 1)) && !forbids.Any(n => file.IsLockedByOther(DoesBase + n, 1));
            if (!isFree)
            {
                throw new DiskImageException(isReadOnly
                    ? $"{file.Path}: the image is being written by another process; end that VM or command first"
                    : $"{file.Path}: the image is in use by another process; end that VM or command first, or write to an overlay of a read-only image");
            }

            return new ImageFile(file, isReadOnly);
        }
        catch (HostException e)
        {
            file.Dispose();
            throw new DiskImageException($"{file.Path}: the image can't be locked ({e.Message})", e);
        }
        catch
        {
            file.Dispose();
            throw;
        }
    }

    private static HostFile OpenFile(string path, HostFileMode mode)
    {
        try
        {
            return new HostFile(path, mode);
        }
        catch (HostException e) when (FileError.IsMissing(e))
        {
            throw new DiskImageException(
                mode is HostFileMode.Read or HostFileMode.ReadWrite ? $"{path}: there is no such file" : $"{path}: there is no such directory", e);
        }
        catch (HostException e) when (FileError.IsPresent(e))
        {
            throw new DiskImageException($"{path}: there already is a file of that name; another name, or removing it first, would be right", e);
        }
        catch (HostException e) when (FileError.IsDenied(e))
        {
            throw new DiskImageException($"{path}: no permission to {(mode == HostFileMode.Read ? "read" : "write")} it", e);
        }
        catch (HostException e)
        {
            throw new DiskImageException($"{path}: can't be opened ({e.Message})", e);
        }
    }

    private IOException Meaning(HostException e) => FileError.IsFull(e)
        ? new StorageFullException($"the host has no room for the image: {e.Message}; free some space there", e) { Place = Path }
        : e;

    private T Guard<T>(Func<T> action)
    {
        try
        {
            return action();
        }
        catch (HostException e)
        {
            throw Meaning(e);
        }
    }
}
