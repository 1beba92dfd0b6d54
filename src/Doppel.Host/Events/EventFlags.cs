using System.Runtime.InteropServices;

namespace Doppel.Host.Events;

/// <summary>Constants of eventfd(2) and errno(3).</summary>
internal static class EventFlags
{
    internal const int NonBlocking = 0x800;
    internal const int CloseOnExec = 0x80000;
    internal const int Interrupted = 4;
}

/// <summary>struct pollfd.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct PollDescriptor
{
    internal int Descriptor;
    internal short Wanted;
    internal short Seen;
}
