using System.Runtime.InteropServices;
using Doppel.Host.Files;

namespace Doppel.Host.Tests.Files;

public sealed class HostFileTests : IDisposable
{
    private readonly string _directory = Directory.CreateTempSubdirectory("doppel-file-").FullName;

    private string File => Path.Combine(_directory, "file");

    public void Dispose() => Directory.Delete(_directory, recursive: true);

    [Fact]
    public void Constants_and_structures_match_the_C_compiler()
    {
        long[] values = CProgram.Evaluate(
            ["fcntl.h", "unistd.h", "errno.h", "limits.h", "sys/uio.h", "linux/falloc.h"],
            [
                "O_RDONLY", "O_WRONLY", "O_RDWR", "O_CREAT", "O_EXCL", "O_APPEND", "O_CLOEXEC", "O_TMPFILE", "F_OFD_GETLK", "F_OFD_SETLK", "F_RDLCK", "F_WRLCK", "F_UNLCK",
                "FALLOC_FL_KEEP_SIZE", "FALLOC_FL_PUNCH_HOLE", "FALLOC_FL_ZERO_RANGE", "SEEK_SET", "SEEK_END", "SEEK_DATA", "SEEK_HOLE", "RWF_NOWAIT", "IOV_MAX",
                "ENOENT", "EINTR", "ENXIO", "EAGAIN", "EACCES", "EEXIST", "EINVAL", "ENOSPC", "EOPNOTSUPP", "EDQUOT",
                "sizeof(struct flock)", "offsetof(struct flock, l_type)", "offsetof(struct flock, l_whence)", "offsetof(struct flock, l_start)",
                "offsetof(struct flock, l_len)", "offsetof(struct flock, l_pid)", "sizeof(struct iovec)", "offsetof(struct iovec, iov_len)",
            ]);
        long[] ours =
        [
            FileFlags.ReadOnly, FileFlags.WriteOnly, FileFlags.ReadWrite, FileFlags.Create, FileFlags.Exclusive, FileFlags.Append, FileFlags.CloseOnExec, FileFlags.TemporaryFile, FileFlags.GetOpenFileLock,
            FileFlags.SetOpenFileLock, FileFlags.ReadLock, FileFlags.WriteLock, FileFlags.Unlock,
            FileFlags.KeepSize, FileFlags.PunchHole, FileFlags.ZeroRange, FileFlags.SeekSet, FileFlags.SeekEnd, FileFlags.SeekData, FileFlags.SeekHole, FileFlags.NoWait, FileFlags.MaximumVectors,
            FileFlags.NoEntry, FileFlags.Interrupted, FileFlags.NoSuchAddress, FileFlags.Again, FileFlags.Access, FileFlags.Exists, FileFlags.InvalidArgument,
            FileFlags.NoSpace, FileFlags.NotSupported, FileFlags.QuotaExceeded,
            Marshal.SizeOf<LockDescription>(), Offset<LockDescription>(nameof(LockDescription.Type)), Offset<LockDescription>(nameof(LockDescription.Whence)),
            Offset<LockDescription>(nameof(LockDescription.Start)), Offset<LockDescription>(nameof(LockDescription.Length)), Offset<LockDescription>(nameof(LockDescription.Process)),
            Marshal.SizeOf<IoVectorEntry>(), Offset<IoVectorEntry>(nameof(IoVectorEntry.Length)),
        ];
        Assert.Equal(values, ours);
    }

    [Fact]
    public void What_several_add_to_a_file_is_all_there()
    {
        using (FileStream first = HostFile.OpenToAppend(File), second = HostFile.OpenToAppend(File))
        {
            for (int i = 0; i < 4; i++)
            {
                first.Write("a1"u8);
                second.Write("b"u8);
            }
        }

        Assert.Equal("a1ba1ba1ba1b", System.IO.File.ReadAllText(File));
        HostException error = Assert.Throws<HostException>(() => HostFile.OpenToAppend(Path.GetDirectoryName(File)!));
        Assert.Contains(Path.GetDirectoryName(File)!, error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Buffers_are_written_and_read_one_after_the_other_and_zeros_follow_the_end()
    {
        using var file = new HostFile(File, HostFileMode.CreateNew);
        Memory<byte>[] written = [.. Enumerable.Range(0, 1500).Select(i => (Memory<byte>)new byte[] { (byte)i, (byte)(i >> 8), 7 })];
        file.Write(5, written);
        Assert.Equal(5 + 4500, file.Length);
        byte[] first = new byte[4000], second = new byte[600];
        second.AsSpan().Fill(9);
        file.Read(5, [first, Memory<byte>.Empty, second]);
        byte[] all = [.. written.SelectMany(b => b.ToArray()), .. new byte[100]];
        Assert.Equal(all, first.Concat(second));
        Assert.True(file.TryReadCached(5, [first]));
        Assert.False(file.TryReadCached(4500, [first]));
    }

    [Fact]
    public void A_hole_reads_as_zeros_and_is_found()
    {
        using var file = new HostFile(File, HostFileMode.CreateNew);
        byte[] data = new byte[1 << 20];
        data.AsSpan().Fill(1);
        file.Write(0, data);
        file.Sync();
        Assert.True(file.TryPunchHole(65536, 65536));
        byte[] read = new byte[65536];
        file.Read(65536, read);
        Assert.Equal(new byte[65536], read);
        Assert.Equal((65536, 131072, 1 << 20), (file.FindHole(0), file.FindData(65536), file.Length));
        Assert.Null(file.FindData(1 << 20));
    }

    [Fact]
    public void A_lock_is_seen_by_another_open_file_until_it_is_closed()
    {
        using var other = new HostFile(File, HostFileMode.CreateNew);
        using (var file = new HostFile(File, HostFileMode.Read))
        {
            Assert.True(file.TryLockShared(100, 1));
            Assert.False(file.IsLockedByOther(100, 1));
            Assert.True(other.IsLockedByOther(100, 1));
            Assert.False(other.IsLockedByOther(101, 1));
        }

        Assert.False(other.IsLockedByOther(100, 1));
    }

    [Fact]
    public void Errors_can_be_told_apart()
    {
        Assert.True(FileError.IsMissing(Assert.Throws<HostException>(() => new HostFile(File, HostFileMode.Read))));
        new HostFile(File, HostFileMode.CreateNew).Dispose();
        Assert.True(FileError.IsPresent(Assert.Throws<HostException>(() => new HostFile(File, HostFileMode.CreateNew))));
        using var full = new HostFile("/dev/full", HostFileMode.ReadWrite);
        Assert.True(FileError.IsFull(Assert.Throws<HostException>(() => full.Write(0, new byte[1]))));
    }

    private static long Offset<T>(string field) => Marshal.OffsetOf<T>(field);
}
