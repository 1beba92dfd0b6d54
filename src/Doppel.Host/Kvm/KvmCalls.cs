using System.Runtime.InteropServices;

namespace Doppel.Host.Kvm;

/// <summary>The C library's ioctl, as KVM needs it.</summary>
internal static unsafe partial class KvmCalls
{
    private const string Library = "libc";

    [LibraryImport(Library, EntryPoint = "ioctl", SetLastError = true)]
    internal static partial int Control(int descriptor, nuint request, void* argument);

    [LibraryImport(Library, EntryPoint = "ioctl", SetLastError = true)]
    internal static partial int Control(int descriptor, nuint request, nuint argument);

    [LibraryImport(Library, EntryPoint = "pread64", SetLastError = true)]
    internal static partial nint ReadAt(int descriptor, void* buffer, nuint length, long offset);
}
