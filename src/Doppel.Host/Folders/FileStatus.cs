namespace Doppel.Host.Folders;

/// <summary>What a file system says about a file (statx(2)).</summary>
/// <param name="Device">The file system that it lies on.</param>
/// <param name="Inode">Its number there.</param>
/// <param name="Mode">Type and permissions, as in st_mode.</param>
/// <param name="Links">Number of names.</param>
/// <param name="User">Owner.</param>
/// <param name="Group">Group.</param>
/// <param name="SpecialDevice">Which device a device file is: major number in the upper, minor in the lower 32 bits.</param>
/// <param name="Size">Bytes.</param>
/// <param name="Blocks">Units of 512 bytes that it takes.</param>
/// <param name="BlockSize">Bytes that are best read or written at once.</param>
/// <param name="Accessed">When it was last read.</param>
/// <param name="Modified">When its content last changed.</param>
/// <param name="Changed">When it last changed in any way.</param>
public readonly record struct FileStatus(
    ulong Device, ulong Inode, uint Mode, uint Links, uint User, uint Group, ulong SpecialDevice, ulong Size, ulong Blocks, uint BlockSize,
    FileTime Accessed, FileTime Modified, FileTime Changed)
{
    /// <summary>True for a plain file.</summary>
    public bool IsFile => (Mode & FolderFlags.TypeMask) == FolderFlags.RegularFile;

    /// <summary>True for a directory.</summary>
    public bool IsDirectory => (Mode & FolderFlags.TypeMask) == FolderFlags.DirectoryFile;

    /// <summary>True for a symbolic link.</summary>
    public bool IsLink => (Mode & FolderFlags.TypeMask) == FolderFlags.SymbolicLink;
}

/// <summary>A moment, as a file system keeps it.</summary>
/// <param name="Seconds">Since 1970, UTC.</param>
/// <param name="Nanoseconds">0 to 999,999,999.</param>
public readonly record struct FileTime(long Seconds, uint Nanoseconds)
{
    /// <summary>In a change of times: the moment of the change.</summary>
    public static FileTime Now => new(0, (uint)FolderFlags.TimeNow);

    /// <summary>In a change of times: as it was.</summary>
    public static FileTime Same => new(0, (uint)FolderFlags.TimeOmit);
}

/// <summary>How full a file system is (statfs(2)).</summary>
/// <param name="BlockSize">Bytes of a block.</param>
/// <param name="Blocks">Blocks in all.</param>
/// <param name="Free">Free blocks.</param>
/// <param name="Available">Free blocks that an ordinary user may use.</param>
/// <param name="Files">Files in all.</param>
/// <param name="FreeFiles">Files that can still be made.</param>
/// <param name="NameLength">Longest name, in bytes.</param>
public readonly record struct FileSystemStatus(uint BlockSize, ulong Blocks, ulong Free, ulong Available, ulong Files, ulong FreeFiles, uint NameLength);
