using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;

namespace Doppel.Host.Files;

/// <summary>The C library's file functions, as they are.</summary>
internal static unsafe partial class FileCalls
{
    private const string Library = "libc";

    [LibraryImport(Library, EntryPoint = "open", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    internal static partial int Open(string path, int flags, uint mode);

    [LibraryImport(Library, EntryPoint = "link", StringMarshalling = StringMarshalling.Utf8)]
    internal static partial int Link(string existing, string name);

    [LibraryImport(Library, EntryPoint = "preadv2", SetLastError = true)]
    internal static partial nint ReadVector(SafeFileHandle file, IoVectorEntry* vectors, int count, long offset, int flags);

    [LibraryImport(Library, EntryPoint = "pwritev", SetLastError = true)]
    internal static partial nint WriteVector(SafeFileHandle file, IoVectorEntry* vectors, int count, long offset);

    [LibraryImport(Library, EntryPoint = "fdatasync", SetLastError = true)]
    internal static partial int DataSync(SafeFileHandle file);

    [LibraryImport(Library, EntryPoint = "fallocate", SetLastError = true)]
    internal static partial int Allocate(SafeFileHandle file, int mode, long offset, long length);

    [LibraryImport(Library, EntryPoint = "lseek", SetLastError = true)]
    internal static partial long Seek(SafeFileHandle file, long offset, int whence);

    [LibraryImport(Library, EntryPoint = "lseek", SetLastError = true)]
    internal static partial long Seek(int file, long offset, int whence);

    [LibraryImport(Library, EntryPoint = "ftruncate", SetLastError = true)]
    internal static partial int Truncate(SafeFileHandle file, long length);

    [LibraryImport(Library, EntryPoint = "fcntl", SetLastError = true)]
    internal static partial int Lock(SafeFileHandle file, int command, LockDescription* description);
}
