using System.Runtime.InteropServices;
using Doppel.Host.Files;
using Doppel.Host.Folders;

namespace Doppel.Host.Tests.Folders;

public sealed class FolderTests
{
    [Fact]
    public void Constants_and_structures_match_the_C_compiler()
    {
        (string Expression, long Ours)[] all =
        [
            ("O_ACCMODE", FolderFlags.AccessMode), ("O_WRONLY", FolderFlags.WriteOnly), ("O_CREAT", FolderFlags.Create), ("O_EXCL", FolderFlags.Exclusive),
            ("O_TRUNC", FolderFlags.Truncate), ("O_APPEND", FolderFlags.Append), ("O_NONBLOCK", FolderFlags.NonBlocking), ("O_DSYNC", FolderFlags.DataSync),
            ("O_SYNC", FolderFlags.Sync), ("O_DIRECTORY", FolderFlags.Directory), ("O_NOFOLLOW", FolderFlags.NoFollow), ("O_CLOEXEC", FolderFlags.CloseOnExec),
            ("O_PATH", FolderFlags.PathOnly), ("AT_FDCWD", FolderFlags.CurrentDirectory), ("AT_EMPTY_PATH", FolderFlags.EmptyPath), ("AT_SYMLINK_FOLLOW", FolderFlags.FollowLink),
            ("AT_REMOVEDIR", FolderFlags.RemoveDirectory), ("STATX_BASIC_STATS", FolderFlags.BasicStatus), ("UTIME_NOW", FolderFlags.TimeNow), ("UTIME_OMIT", FolderFlags.TimeOmit),
            ("RLIMIT_NOFILE", FolderFlags.OpenFilesLimit), ("S_IFMT", FolderFlags.TypeMask), ("S_IFREG", FolderFlags.RegularFile), ("S_IFDIR", FolderFlags.DirectoryFile),
            ("S_IFLNK", FolderFlags.SymbolicLink), ("S_IFIFO", FolderFlags.Fifo), ("S_IFSOCK", FolderFlags.Socket), ("S_ISUID", FolderFlags.SetUser), ("S_ISGID", FolderFlags.SetGroup),
            ("EPERM", FolderError.NotPermitted), ("ENOENT", FolderError.Missing), ("EIO", FolderError.InputOutput), ("EBADF", FolderError.BadHandle), ("EEXIST", FolderError.Exists),
            ("ENOTDIR", FolderError.NotDirectory), ("EISDIR", FolderError.IsDirectory), ("EINVAL", FolderError.Invalid), ("ENFILE", FolderError.TooMany), ("EROFS", FolderError.ReadOnly),
            ("ERANGE", FolderError.Range), ("ENAMETOOLONG", FolderError.NameTooLong), ("ENOSYS", FolderError.NotImplemented), ("ELOOP", FolderError.Link), ("EPROTO", FolderError.Protocol),
            ("EOPNOTSUPP", FolderError.NotSupported), ("ESTALE", FolderError.Stale),
            ("sizeof(struct statx)", Marshal.SizeOf<ExtendedStatus>()), ("sizeof(struct statx_timestamp)", Marshal.SizeOf<StatusTime>()),
            ("offsetof(struct statx, stx_blksize)", Offset<ExtendedStatus>(nameof(ExtendedStatus.BlockSize))), ("offsetof(struct statx, stx_nlink)", Offset<ExtendedStatus>(nameof(ExtendedStatus.Links))),
            ("offsetof(struct statx, stx_uid)", Offset<ExtendedStatus>(nameof(ExtendedStatus.User))), ("offsetof(struct statx, stx_gid)", Offset<ExtendedStatus>(nameof(ExtendedStatus.Group))),
            ("offsetof(struct statx, stx_mode)", Offset<ExtendedStatus>(nameof(ExtendedStatus.Mode))), ("offsetof(struct statx, stx_ino)", Offset<ExtendedStatus>(nameof(ExtendedStatus.Inode))),
            ("offsetof(struct statx, stx_size)", Offset<ExtendedStatus>(nameof(ExtendedStatus.Size))), ("offsetof(struct statx, stx_blocks)", Offset<ExtendedStatus>(nameof(ExtendedStatus.Blocks))),
            ("offsetof(struct statx, stx_atime)", Offset<ExtendedStatus>(nameof(ExtendedStatus.Accessed))), ("offsetof(struct statx, stx_ctime)", Offset<ExtendedStatus>(nameof(ExtendedStatus.Changed))),
            ("offsetof(struct statx, stx_mtime)", Offset<ExtendedStatus>(nameof(ExtendedStatus.Modified))), ("offsetof(struct statx_timestamp, tv_nsec)", Offset<StatusTime>(nameof(StatusTime.Nanoseconds))),
            ("offsetof(struct statx, stx_rdev_major)", Offset<ExtendedStatus>(nameof(ExtendedStatus.SpecialMajor))), ("offsetof(struct statx, stx_rdev_minor)", Offset<ExtendedStatus>(nameof(ExtendedStatus.SpecialMinor))),
            ("offsetof(struct statx, stx_dev_major)", Offset<ExtendedStatus>(nameof(ExtendedStatus.DeviceMajor))), ("offsetof(struct statx, stx_dev_minor)", Offset<ExtendedStatus>(nameof(ExtendedStatus.DeviceMinor))),
            ("sizeof(struct statfs)", Marshal.SizeOf<FileSystemDescription>()), ("offsetof(struct statfs, f_bsize)", Offset<FileSystemDescription>(nameof(FileSystemDescription.BlockSize))),
            ("offsetof(struct statfs, f_blocks)", Offset<FileSystemDescription>(nameof(FileSystemDescription.Blocks))), ("offsetof(struct statfs, f_bfree)", Offset<FileSystemDescription>(nameof(FileSystemDescription.FreeBlocks))),
            ("offsetof(struct statfs, f_bavail)", Offset<FileSystemDescription>(nameof(FileSystemDescription.AvailableBlocks))), ("offsetof(struct statfs, f_files)", Offset<FileSystemDescription>(nameof(FileSystemDescription.Files))),
            ("offsetof(struct statfs, f_ffree)", Offset<FileSystemDescription>(nameof(FileSystemDescription.FreeFiles))), ("offsetof(struct statfs, f_namelen)", Offset<FileSystemDescription>(nameof(FileSystemDescription.NameLength))),
            ("sizeof(struct timespec)", Marshal.SizeOf<TimeSpecification>()), ("offsetof(struct timespec, tv_nsec)", Offset<TimeSpecification>(nameof(TimeSpecification.Nanoseconds))),
            ("sizeof(struct rlimit)", Marshal.SizeOf<ResourceLimit>()), ("offsetof(struct rlimit, rlim_cur)", Offset<ResourceLimit>(nameof(ResourceLimit.Current))),
        ];
        long[] theirs = CProgram.Evaluate(["fcntl.h", "unistd.h", "errno.h", "sys/stat.h", "sys/vfs.h", "sys/resource.h", "time.h"], [.. all.Select(a => a.Expression)]);
        Assert.Equal(all.Zip(theirs, (a, value) => (a.Expression, value)), all);
        // struct linux_dirent64 is the kernel's own; glibc's struct dirent64 has its layout.
        Assert.Equal([8, 16, 18, 19], CProgram.Evaluate(["dirent.h"], ["offsetof(struct dirent64, d_off)", "offsetof(struct dirent64, d_reclen)", "offsetof(struct dirent64, d_type)", "offsetof(struct dirent64, d_name)"]));
        Assert.True(FolderNode.DescriptorLimit > 0);
    }

    [Fact]
    public void A_directory_that_is_none_is_refused()
    {
        string file = Path.GetTempFileName();
        Assert.Equal(FolderError.NotDirectory, Assert.Throws<HostException>(() => FolderNode.OpenRoot(file)).Errno);
        File.Delete(file);
        Assert.True(FileError.IsMissing(Assert.Throws<HostException>(() => FolderNode.OpenRoot(file))));
    }

    private static int Offset<T>(string field) => (int)Marshal.OffsetOf<T>(field);
}
