using System.Runtime.InteropServices;

namespace Doppel.Host.Events;

/// <summary>The C library's functions for waiting, as they are.</summary>
internal static unsafe partial class EventCalls
{
    private const string Library = "libc";

    [LibraryImport(Library, EntryPoint = "poll", SetLastError = true)]
    internal static partial int Poll(PollDescriptor* descriptors, ulong count, int timeout);

    [LibraryImport(Library, EntryPoint = "eventfd", SetLastError = true)]
    internal static partial int EventFd(uint initial, int flags);
}
