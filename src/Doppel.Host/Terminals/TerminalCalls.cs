using System.Runtime.InteropServices;

namespace Doppel.Host.Terminals;

/// <summary>The C library's terminal functions and constants (termios(3), ioctl_tty(2), pts(4)).</summary>
internal static unsafe partial class TerminalCalls
{
    internal const int SetNow = 0;
    internal const int SetAfterDrain = 1;
    internal const nuint GetWindowSize = 0x5413;
    internal const nuint SetWindowSize = 0x5414;
    internal const int ReadWrite = 2;
    internal const int NoControllingTerminal = 0x100;
    internal const int CloseOnExec = 0x80000;
    private const string Library = "libc";

    [LibraryImport(Library, EntryPoint = "isatty", SetLastError = true)]
    internal static partial int IsATty(int fd);

    [LibraryImport(Library, EntryPoint = "tcgetattr", SetLastError = true)]
    internal static partial int GetAttributes(int fd, Termios* attributes);

    [LibraryImport(Library, EntryPoint = "tcsetattr", SetLastError = true)]
    internal static partial int SetAttributes(int fd, int when, Termios* attributes);

    [LibraryImport(Library, EntryPoint = "cfmakeraw")]
    internal static partial void MakeRaw(Termios* attributes);

    [LibraryImport(Library, EntryPoint = "ioctl", SetLastError = true)]
    internal static partial int Ioctl(int fd, nuint request, WindowSize* size);

    [LibraryImport(Library, EntryPoint = "posix_openpt", SetLastError = true)]
    internal static partial int OpenPseudoTerminal(int flags);

    [LibraryImport(Library, EntryPoint = "grantpt", SetLastError = true)]
    internal static partial int Grant(int fd);

    [LibraryImport(Library, EntryPoint = "unlockpt", SetLastError = true)]
    internal static partial int Unlock(int fd);

    [LibraryImport(Library, EntryPoint = "ptsname_r", SetLastError = true)]
    internal static partial int GetSlaveName(int fd, byte* buffer, nuint length);

    [LibraryImport(Library, EntryPoint = "open", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    internal static partial int Open(string path, int flags);
}
