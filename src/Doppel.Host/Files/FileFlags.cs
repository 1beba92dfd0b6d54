using System.Runtime.InteropServices;

namespace Doppel.Host.Files;

/// <summary>Constants of open(2), fcntl(2), fallocate(2), lseek(2), readv(2) and errno(3).</summary>
internal static class FileFlags
{
    internal const int ReadOnly = 0;
    internal const int WriteOnly = 1;
    internal const int ReadWrite = 2;
    internal const int Create = 0x40;
    internal const int Exclusive = 0x80;
    internal const int Append = 0x400;
    internal const int CloseOnExec = 0x80000;
    internal const int TemporaryFile = 0x410000;

    internal const int GetOpenFileLock = 36;
    internal const int SetOpenFileLock = 37;
    internal const short ReadLock = 0;
    internal const short WriteLock = 1;
    internal const short Unlock = 2;

    internal const int KeepSize = 1;
    internal const int PunchHole = 2;
    internal const int ZeroRange = 16;

    internal const int SeekSet = 0;
    internal const int SeekEnd = 2;
    internal const int SeekData = 3;
    internal const int SeekHole = 4;

    internal const int NoWait = 8;
    internal const int MaximumVectors = 1024;

    internal const int NoEntry = 2;
    internal const int Interrupted = 4;
    internal const int NoSuchAddress = 6;
    internal const int Again = 11;
    internal const int Access = 13;
    internal const int Exists = 17;
    internal const int InvalidArgument = 22;
    internal const int NoSpace = 28;
    internal const int NotSupported = 95;
    internal const int QuotaExceeded = 122;
}

/// <summary>struct flock on x86-64.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct LockDescription
{
    internal short Type;
    internal short Whence;
    internal long Start;
    internal long Length;
    internal int Process;
}

/// <summary>struct iovec on x86-64.</summary>
[StructLayout(LayoutKind.Sequential)]
internal unsafe struct IoVectorEntry
{
    internal void* Base;
    internal nuint Length;
}
