using System.Runtime.InteropServices;

namespace Doppel.Host.Network;

/// <summary>The C library's ioctl, as tap devices need it.</summary>
internal static unsafe partial class TapCalls
{
    private const string Library = "libc";

    [LibraryImport(Library, EntryPoint = "ioctl", SetLastError = true)]
    internal static partial int Control(int descriptor, nuint request, void* argument);

    [LibraryImport(Library, EntryPoint = "ioctl", SetLastError = true)]
    internal static partial int Control(int descriptor, nuint request, nuint argument);
}
