using System.Runtime.InteropServices;
using Doppel.Host.Files;
using Microsoft.Win32.SafeHandles;

namespace Doppel.Host.Folders;

/// <summary>
/// A file, directory or link of the host, held open without being read or written (O_PATH). It stays the same one whatever
/// is renamed or put in its place. What is inside a directory is reached by one name at a time, which is never a path, never
/// ".." and never followed when it is a link: so nobody gets from a directory to anything that does not lie inside it.
/// Members return the number of an error, zero for none; any thread may call them.
/// </summary>
public sealed unsafe partial class FolderNode : IDisposable
{
    private const int LongestName = 255;
    private const int LongestPath = 4096;
    private readonly SafeFileHandle _handle;

    private FolderNode(int descriptor) => _handle = new SafeFileHandle(descriptor, ownsHandle: true);

    /// <summary>How many descriptors this process may have.</summary>
    public static ulong DescriptorLimit
    {
        get
        {
            ResourceLimit limit;
            _ = HostError.Check(FolderCalls.GetLimit(FolderFlags.OpenFilesLimit, &limit), "getrlimit", "of open files");
            return limit.Current;
        }
    }

    /// <summary>Opens a directory by its path, following links.</summary>
    /// <exception cref="HostException">The host refuses, or it is no directory.</exception>
    public static FolderNode OpenRoot(string path)
    {
        const int Flags = FolderFlags.PathOnly | FolderFlags.Directory | FolderFlags.CloseOnExec;
        return new FolderNode((int)HostError.Check(FileCalls.Open(path, Flags, 0), "open", $"of the directory {path}"));
    }

    /// <summary>Finds an entry of this directory.</summary>
    public int Find(ReadOnlySpan<byte> name, out FolderNode? node)
    {
        byte* path = stackalloc byte[LongestName + 1];
        node = null;
        int error = Copy(name, path);
        if (error != 0)
            return error;
        int descriptor = FolderCalls.OpenAt(_handle, path, FolderFlags.PathOnly | FolderFlags.NoFollow | FolderFlags.CloseOnExec, 0);
        if (descriptor == -1)
            return LastError();
        node = new FolderNode(descriptor);
        return 0;
    }

    /// <summary>Says what this is.</summary>
    public int GetStatus(out FileStatus status)
    {
        ExtendedStatus s;
        byte empty = 0;
        status = default;
        if (FolderCalls.GetStatus(_handle, &empty, FolderFlags.EmptyPath, FolderFlags.BasicStatus, &s) == -1)
            return LastError();
        status = new FileStatus(
            ((ulong)s.DeviceMajor << 32) | s.DeviceMinor, s.Inode, s.Mode, s.Links, s.User, s.Group, ((ulong)s.SpecialMajor << 32) | s.SpecialMinor,
            s.Size, s.Blocks, s.BlockSize, Time(s.Accessed), Time(s.Modified), Time(s.Changed));
        return 0;
    }

    /// <summary>Says how full the file system is on which it lies.</summary>
    public int GetFileSystem(out FileSystemStatus status)
    {
        FileSystemDescription d;
        status = default;
        if (FolderCalls.GetFileSystem(_handle, &d) == -1)
            return LastError();
        status = new FileSystemStatus((uint)d.BlockSize, d.Blocks, d.FreeBlocks, d.AvailableBlocks, d.Files, d.FreeFiles, (uint)d.NameLength);
        return 0;
    }

    /// <summary>Reads where this symbolic link leads.</summary>
    public int ReadLink(Span<byte> target, out int length)
    {
        byte empty = 0;
        length = 0;
        fixed (byte* bytes = target)
        {
            nint count = FolderCalls.ReadLink(_handle, &empty, bytes, (nuint)target.Length);
            if (count == -1)
                return LastError();
            length = (int)count;
            return 0;
        }
    }

    /// <summary>The path at which the kernel knows this now, for finding it again later; null when it has none any more.</summary>
    public byte[]? GetPath()
    {
        byte* path = stackalloc byte[LongestPath];
        using var self = new DescriptorPath(_handle, stackalloc byte[DescriptorPath.Length]);
        fixed (byte* link = self.Path)
        {
            nint count = FolderCalls.ReadLink(link, path, LongestPath);
            var found = new ReadOnlySpan<byte>(path, (int)Math.Max(count, 0));
            return count is <= 0 or LongestPath || found.EndsWith(" (deleted)"u8) ? null : found.ToArray();
        }
    }

    /// <summary>Opens this file for reading or writing; only a plain file can be.</summary>
    /// <param name="flags">As for open(2): access mode, O_APPEND, O_TRUNC, O_DSYNC and O_SYNC; others are ignored.</param>
    /// <param name="file">The open file.</param>
    public int OpenFile(int flags, out FolderFile? file)
    {
        file = null;
        int error = GetStatus(out FileStatus status);
        if (error != 0)
            return error;
        // The kernel's own list of descriptors leads to this very file. Others would do something when they are opened: devices, FIFOs.
        if (!status.IsFile)
            return status.IsDirectory ? FolderError.IsDirectory : status.IsLink ? FolderError.Link : FolderError.NotPermitted;
        error = Reopen((flags & FolderFile.Flags) | FolderFlags.NonBlocking, out SafeFileHandle? handle);
        if (error != 0)
            return error;
        file = new FolderFile(handle!);
        return 0;
    }

    /// <summary>Opens this directory for reading.</summary>
    public int OpenDirectory(out FolderReader? reader)
    {
        int error = Reopen(FolderFlags.Directory, out SafeFileHandle? handle);
        reader = error == 0 ? new FolderReader(handle!) : null;
        return error;
    }

    /// <summary>Makes a file in this directory; there must be no such entry.</summary>
    /// <param name="name">Its name.</param>
    /// <param name="flags">As for <see cref="OpenFile"/>.</param>
    /// <param name="mode">Permissions.</param>
    /// <param name="node">The file.</param>
    /// <param name="file">The same, open.</param>
    public int CreateFile(ReadOnlySpan<byte> name, int flags, uint mode, out FolderNode? node, out FolderFile? file)
    {
        const int Always = FolderFlags.Create | FolderFlags.Exclusive | FolderFlags.NoFollow | FolderFlags.CloseOnExec;
        byte* path = stackalloc byte[LongestName + 1];
        node = null;
        file = null;
        int error = Copy(name, path);
        if (error != 0)
            return error;
        int descriptor = FolderCalls.OpenAt(_handle, path, (flags & FolderFile.Flags) | Always, Permissions(mode));
        if (descriptor == -1)
            return LastError();
        var handle = new SafeFileHandle(descriptor, ownsHandle: true);
        // Its name may already be another's.
        error = OpenSame(handle, FolderFlags.PathOnly | FolderFlags.CloseOnExec, out int same);
        if (error != 0)
        {
            handle.Dispose();
            return error;
        }

        node = new FolderNode(same);
        file = new FolderFile(handle);
        return 0;
    }

    /// <summary>Makes a directory in this one.</summary>
    public int MakeDirectory(ReadOnlySpan<byte> name, uint mode)
    {
        byte* path = stackalloc byte[LongestName + 1];
        int error = Copy(name, path);
        return error != 0 ? error : Result(FolderCalls.MakeDirectory(_handle, path, mode & 0x3FF));
    }

    /// <summary>Makes an empty file, a FIFO or a socket in this directory; never a device.</summary>
    /// <param name="name">Its name.</param>
    /// <param name="mode">Type and permissions, as in st_mode.</param>
    public int MakeNode(ReadOnlySpan<byte> name, uint mode)
    {
        byte* path = stackalloc byte[LongestName + 1];
        if ((mode & FolderFlags.TypeMask) is not (0 or FolderFlags.RegularFile or FolderFlags.Fifo or FolderFlags.Socket))
            return FolderError.NotPermitted;
        int error = Copy(name, path);
        return error != 0 ? error : Result(FolderCalls.MakeNode(_handle, path, (mode & FolderFlags.TypeMask) | Permissions(mode), 0));
    }

    /// <summary>Makes a symbolic link in this directory. Nothing here follows it.</summary>
    public int MakeSymbolicLink(ReadOnlySpan<byte> name, ReadOnlySpan<byte> target)
    {
        byte* path = stackalloc byte[LongestName + 1];
        int error = Copy(name, path);
        if (error != 0)
            return error;
        if (target.IsEmpty || target.Contains((byte)0))
            return FolderError.Missing;
        if (target.Length >= LongestPath)
            return FolderError.NameTooLong;
        byte* content = stackalloc byte[LongestPath];
        target.CopyTo(new Span<byte>(content, LongestPath));
        content[target.Length] = 0;
        return Result(FolderCalls.MakeSymbolicLink(content, _handle, path));
    }

    /// <summary>Gives a file another name, in this directory.</summary>
    public int MakeLink(FolderNode file, ReadOnlySpan<byte> name)
    {
        ArgumentNullException.ThrowIfNull(file);
        byte* path = stackalloc byte[LongestName + 1];
        int error = Copy(name, path);
        if (error != 0)
            return error;
        using var source = new DescriptorPath(file._handle, stackalloc byte[DescriptorPath.Length]);
        fixed (byte* from = source.Path)
            return Result(FolderCalls.MakeLink(FolderFlags.CurrentDirectory, from, _handle, path, FolderFlags.FollowLink));
    }

    /// <summary>Removes an entry of this directory.</summary>
    /// <param name="name">The entry.</param>
    /// <param name="isDirectory">True for an empty directory, false for anything else.</param>
    public int Remove(ReadOnlySpan<byte> name, bool isDirectory)
    {
        byte* path = stackalloc byte[LongestName + 1];
        int error = Copy(name, path);
        return error != 0 ? error : Result(FolderCalls.Remove(_handle, path, isDirectory ? FolderFlags.RemoveDirectory : 0));
    }

    /// <summary>Moves an entry of this directory to another.</summary>
    /// <param name="name">The entry.</param>
    /// <param name="directory">Where to.</param>
    /// <param name="newName">Its name there.</param>
    /// <param name="flags">0, RENAME_NOREPLACE (1) or RENAME_EXCHANGE (2).</param>
    public int Rename(ReadOnlySpan<byte> name, FolderNode directory, ReadOnlySpan<byte> newName, uint flags)
    {
        ArgumentNullException.ThrowIfNull(directory);
        byte* from = stackalloc byte[LongestName + 1];
        byte* to = stackalloc byte[LongestName + 1];
        if (flags > 2)
            return FolderError.Invalid;
        int error = Copy(name, from);
        if (error == 0)
            error = Copy(newName, to);
        return error != 0 ? error : Result(FolderCalls.Rename(_handle, from, directory._handle, to, flags));
    }

    /// <summary>Sets the permissions. A file doesn't get set-user-ID or set-group-ID: whoever runs it would get this process's rights.</summary>
    public int SetMode(uint mode)
    {
        int error = GetStatus(out FileStatus status);
        if (error != 0)
            return error;
        if (status.IsLink)
            return FolderError.NotSupported;
        using var self = new DescriptorPath(_handle, stackalloc byte[DescriptorPath.Length]);
        fixed (byte* path = self.Path)
            return Result(FolderCalls.SetMode(path, status.IsDirectory ? mode & 0xFFF & ~FolderFlags.SetUser : Permissions(mode)));
    }

    /// <summary>Sets owner and group; <see cref="uint.MaxValue"/> leaves one as it is.</summary>
    public int SetOwner(uint user, uint group)
    {
        byte empty = 0;
        return Result(FolderCalls.SetOwner(_handle, &empty, user, group, FolderFlags.EmptyPath));
    }

    /// <summary>Sets the length of a plain file.</summary>
    public int SetLength(ulong length)
    {
        int error = GetStatus(out FileStatus status);
        if (error != 0)
            return error;
        if (!status.IsFile)
            return status.IsDirectory ? FolderError.IsDirectory : FolderError.Invalid;
        using var self = new DescriptorPath(_handle, stackalloc byte[DescriptorPath.Length]);
        fixed (byte* path = self.Path)
            return length > long.MaxValue ? FolderError.Invalid : Result(FolderCalls.SetLength(path, (long)length));
    }

    /// <summary>Sets the times of reading and modification.</summary>
    public int SetTimes(FileTime accessed, FileTime modified)
    {
        TimeSpecification* times = stackalloc TimeSpecification[2];
        times[0] = new TimeSpecification { Seconds = accessed.Seconds, Nanoseconds = accessed.Nanoseconds };
        times[1] = new TimeSpecification { Seconds = modified.Seconds, Nanoseconds = modified.Nanoseconds };
        using var self = new DescriptorPath(_handle, stackalloc byte[DescriptorPath.Length]);
        fixed (byte* path = self.Path)
            return Result(FolderCalls.SetTimes(FolderFlags.CurrentDirectory, path, times, 0));
    }

    /// <inheritdoc/>
    public void Dispose() => _handle.Dispose();

    internal static int LastError() => Marshal.GetLastPInvokeError();

    internal static int Result(int result) => result == -1 ? LastError() : 0;

    private static FileTime Time(StatusTime time) => new(time.Seconds, time.Nanoseconds);

    // With them, whoever executes what a guest has made would act as the user of this process.
    private static uint Permissions(uint mode) => mode & 0xFFF & ~(FolderFlags.SetUser | FolderFlags.SetGroup);

    /// <summary>Copies a name that is one entry of a directory, with a zero behind it.</summary>
    private static int Copy(ReadOnlySpan<byte> name, byte* path)
    {
        if (name.Length > LongestName)
            return FolderError.NameTooLong;
        if (name.IsEmpty || name.ContainsAny((byte)'/', (byte)0) || name.SequenceEqual("."u8) || name.SequenceEqual(".."u8))
            return FolderError.Invalid;
        name.CopyTo(new Span<byte>(path, LongestName));
        path[name.Length] = 0;
        return 0;
    }

    private static int OpenSame(SafeFileHandle handle, int flags, out int descriptor)
    {
        using var self = new DescriptorPath(handle, stackalloc byte[DescriptorPath.Length]);
        fixed (byte* path = self.Path)
            descriptor = FolderCalls.Open(path, flags, 0);
        return descriptor == -1 ? LastError() : 0;
    }

    private int Reopen(int flags, out SafeFileHandle? handle)
    {
        int error = OpenSame(_handle, flags | FolderFlags.CloseOnExec, out int descriptor);
        handle = error == 0 ? new SafeFileHandle(descriptor, ownsHandle: true) : null;
        return error;
    }
}
