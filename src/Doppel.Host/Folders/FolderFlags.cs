using System.Runtime.InteropServices;

namespace Doppel.Host.Folders;

/// <summary>Constants of open(2), statx(2), renameat2(2), utimensat(2), getrlimit(2) and inode(7), and the numbers of errors.</summary>
internal static class FolderFlags
{
    internal const int AccessMode = 3;
    internal const int WriteOnly = 1;
    internal const int Create = 0x40;
    internal const int Exclusive = 0x80;
    internal const int Truncate = 0x200;
    internal const int Append = 0x400;
    internal const int NonBlocking = 0x800;
    internal const int DataSync = 0x1000;
    internal const int Sync = 0x101000;
    internal const int Directory = 0x10000;
    internal const int NoFollow = 0x20000;
    internal const int CloseOnExec = 0x80000;
    internal const int PathOnly = 0x200000;

    internal const int CurrentDirectory = -100;
    internal const int EmptyPath = 0x1000;
    internal const int FollowLink = 0x400;
    internal const int RemoveDirectory = 0x200;
    internal const uint BasicStatus = 0x7FF;
    internal const long TimeNow = 0x3FFFFFFF;
    internal const long TimeOmit = 0x3FFFFFFE;
    internal const int OpenFilesLimit = 7;

    internal const uint TypeMask = 0xF000;
    internal const uint RegularFile = 0x8000;
    internal const uint DirectoryFile = 0x4000;
    internal const uint SymbolicLink = 0xA000;
    internal const uint Fifo = 0x1000;
    internal const uint Socket = 0xC000;
    internal const uint SetUser = 0x800;
    internal const uint SetGroup = 0x400;
}

/// <summary>struct statx_timestamp.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct StatusTime
{
    internal long Seconds;
    internal uint Nanoseconds;
    private int _reserved;
}

/// <summary>struct statx, as far as it is used.</summary>
[StructLayout(LayoutKind.Sequential, Size = 256)]
internal struct ExtendedStatus
{
    internal uint Mask;
    internal uint BlockSize;
    internal ulong Attributes;
    internal uint Links;
    internal uint User;
    internal uint Group;
    internal ushort Mode;
    private ushort _spare;
    internal ulong Inode;
    internal ulong Size;
    internal ulong Blocks;
    internal ulong AttributesMask;
    internal StatusTime Accessed;
    internal StatusTime Born;
    internal StatusTime Changed;
    internal StatusTime Modified;
    internal uint SpecialMajor;
    internal uint SpecialMinor;
    internal uint DeviceMajor;
    internal uint DeviceMinor;
}

/// <summary>struct statfs on x86-64.</summary>
[StructLayout(LayoutKind.Sequential, Size = 120)]
internal struct FileSystemDescription
{
    internal long Type;
    internal long BlockSize;
    internal ulong Blocks;
    internal ulong FreeBlocks;
    internal ulong AvailableBlocks;
    internal ulong Files;
    internal ulong FreeFiles;
    internal long Identifier;
    internal long NameLength;
    internal long FragmentSize;
}

/// <summary>struct timespec on x86-64.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct TimeSpecification
{
    internal long Seconds;
    internal long Nanoseconds;
}

/// <summary>struct rlimit on x86-64.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct ResourceLimit
{
    internal ulong Current;
    internal ulong Maximum;
}
