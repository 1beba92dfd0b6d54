using System.Runtime.InteropServices;
using Doppel.Host.Timers;

namespace Doppel.Host.Threads;

/// <summary>The C library's functions for threads and their signals, as they are.</summary>
internal static unsafe partial class ThreadCalls
{
    private const string Library = "libc";

    [LibraryImport(Library, EntryPoint = "gettid")]
    internal static partial int GetThread();

    [LibraryImport(Library, EntryPoint = "tgkill", SetLastError = true)]
    internal static partial int Signal(int process, int thread, int signal);

    [LibraryImport(Library, EntryPoint = "clock_gettime", SetLastError = true)]
    internal static partial int GetTime(int clock, TimeSpecification* time);

    [LibraryImport(Library, EntryPoint = "sigaction", SetLastError = true)]
    internal static partial int SetAction(int signal, SignalAction* action, SignalAction* old);
}

/// <summary>struct sigaction of the C library.</summary>
[StructLayout(LayoutKind.Sequential)]
internal unsafe struct SignalAction
{
    internal nint Handler;
    internal fixed ulong Mask[16];
    internal int Flags;
    internal nint Restorer;
}
