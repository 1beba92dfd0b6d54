using System.Runtime.InteropServices;

namespace Doppel.Host.Network;

/// <summary>Constants of linux/if_tun.h and linux/if.h.</summary>
internal static class TapFlags
{
    internal const int InterfaceNameLength = 16;
    internal const short Tap = 2;
    internal const short NoPacketInformation = 0x1000;
    internal const short HasVirtioHeader = 0x4000;
    internal const nuint SetInterface = 0x400454CA;
    internal const nuint SetOffload = 0x400454D0;
    internal const nuint SetHeaderSize = 0x400454D8;
    internal const uint OffloadChecksum = 1;
    internal const uint OffloadTcp4 = 2;
    internal const uint OffloadTcp6 = 4;
    internal const uint OffloadEcn = 8;
    internal const uint OffloadUdp4 = 0x20;
    internal const uint OffloadUdp6 = 0x40;

    internal const int ReadWrite = 2;
    internal const int NonBlocking = 0x800;
    internal const int CloseOnExec = 0x80000;
}

/// <summary>struct ifreq with its flags.</summary>
[StructLayout(LayoutKind.Sequential)]
internal unsafe struct InterfaceRequest
{
    internal fixed byte Name[TapFlags.InterfaceNameLength];
    internal short Flags;
    internal fixed byte Rest[22];
}
