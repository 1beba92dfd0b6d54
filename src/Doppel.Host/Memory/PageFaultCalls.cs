using System.Runtime.InteropServices;

namespace Doppel.Host.Memory;

/// <summary>userfaultfd(2) and ioctl_userfaultfd(2), as linux/userfaultfd.h has them. glibc has no wrapper for the call.</summary>
internal static unsafe partial class PageFaultCalls
{
    internal const string Device = "/dev/userfaultfd";
    internal const nint UserFaultFd = 323;
    internal const int NonBlocking = 0x800, CloseOnExec = 0x80000, ReadWrite = 2;
    internal const ulong Version = 0xAA, SharedMemory = 1 << 5, ModeMissing = 1, HasCopy = 1 << 3, HasWake = 1 << 2;
    internal const nuint NewDescriptor = 0xAA00, Agree = 0xC018AA3F, Register = 0xC020AA00, Unregister = 0x8010AA01, Wake = 0x8010AA02, Copy = 0xC028AA03;
    internal const byte PageFault = 0x12;
    internal const int NoEntry = 2, NoProcess = 3, TryAgain = 11, Exists = 17, NotPermitted = 1, NoAccess = 13, NoSuchCall = 38, NoFile = 2;

    [LibraryImport("libc", EntryPoint = "syscall", SetLastError = true)]
    internal static partial nint SystemCall(nint number, nint flags);

    [LibraryImport("libc", EntryPoint = "ioctl", SetLastError = true)]
    internal static partial int Control(int descriptor, nuint request, void* argument);

    [LibraryImport("libc", EntryPoint = "ioctl", SetLastError = true)]
    internal static partial int Control(int descriptor, nuint request, nuint argument);
}

/// <summary>struct uffdio_api.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct PageFaultApi
{
    internal ulong Version;
    internal ulong Features;
    internal ulong Controls;
}

/// <summary>struct uffdio_range.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct PageFaultRange
{
    internal ulong Start;
    internal ulong Length;
}

/// <summary>struct uffdio_register.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct PageFaultRegistration
{
    internal PageFaultRange Range;
    internal ulong Mode;
    internal ulong Controls;
}

/// <summary>struct uffdio_copy.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct PageFaultCopy
{
    internal ulong Destination;
    internal ulong Source;
    internal ulong Length;
    internal ulong Mode;
    internal long Copied;
}

/// <summary>struct uffd_msg, as it is for a page fault.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct PageFaultMessage
{
    internal byte Event;
    internal byte Reserved1;
    internal ushort Reserved2;
    internal uint Reserved3;
    internal ulong Flags;
    internal ulong Address;
    internal ulong Reserved4;
}
