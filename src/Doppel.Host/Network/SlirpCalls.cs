using System.Runtime.InteropServices;

namespace Doppel.Host.Network;

/// <summary>Functions of libslirp (libslirp.h of 4.7), as they are.</summary>
internal static unsafe partial class SlirpCalls
{
    internal const string Library = "libslirp.so.0";

    /// <summary>The version of <see cref="SlirpConfiguration"/> and <see cref="SlirpCallbacks"/>.</summary>
    internal const uint ConfigurationVersion = 4;

    internal const int PollIn = 1, PollOut = 2, PollPriority = 4, PollError = 8, PollHangUp = 16;

    [LibraryImport(Library, EntryPoint = "slirp_new")]
    internal static partial nint New(SlirpConfiguration* configuration, SlirpCallbacks* callbacks, nint opaque);

    [LibraryImport(Library, EntryPoint = "slirp_cleanup")]
    internal static partial void CleanUp(nint slirp);

    [LibraryImport(Library, EntryPoint = "slirp_pollfds_fill")]
    internal static partial void Fill(nint slirp, uint* timeout, delegate* unmanaged[Cdecl]<int, int, nint, int> add, nint opaque);

    [LibraryImport(Library, EntryPoint = "slirp_pollfds_poll")]
    internal static partial void Poll(nint slirp, int selectError, delegate* unmanaged[Cdecl]<int, nint, int> get, nint opaque);

    [LibraryImport(Library, EntryPoint = "slirp_input")]
    internal static partial void Input(nint slirp, byte* frame, int length);

    [LibraryImport(Library, EntryPoint = "slirp_handle_timer")]
    internal static partial void HandleTimer(nint slirp, int id, nint opaque);

    [LibraryImport(Library, EntryPoint = "slirp_add_hostfwd", SetLastError = true)]
    internal static partial int AddHostForward(nint slirp, int isUdp, uint hostAddress, int hostPort, uint guestAddress, int guestPort);
}

/// <summary>struct in6_addr.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct Address6
{
    internal uint Word0;
    internal uint Word1;
    internal uint Word2;
    internal uint Word3;
}

/// <summary>SlirpConfig of version 4; addresses are in network byte order.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct SlirpConfiguration
{
    internal uint Version;
    internal int Restricted;
    internal byte HasIpv4;
    internal uint Network;
    internal uint NetworkMask;
    internal uint Host;
    internal byte HasIpv6;
    internal Address6 Prefix6;
    internal byte PrefixLength6;
    internal Address6 Host6;
    internal nint HostName;
    internal nint TftpServerName;
    internal nint TftpPath;
    internal nint BootFile;
    internal uint DhcpStart;
    internal uint NameServer;
    internal Address6 NameServer6;
    internal nint DnsSearch;
    internal nint DomainName;
    internal nuint Mtu;
    internal nuint Mru;
    internal byte DisableHostLoopback;
    internal byte EnableEmulation;
    internal nint OutboundAddress;
    internal nint OutboundAddress6;
    internal byte DisableDns;
    internal byte DisableDhcp;
}

/// <summary>SlirpCb of version 4.</summary>
[StructLayout(LayoutKind.Sequential)]
internal unsafe struct SlirpCallbacks
{
    internal delegate* unmanaged[Cdecl]<byte*, nuint, nint, nint> SendPacket;
    internal delegate* unmanaged[Cdecl]<nint, nint, void> GuestError;
    internal delegate* unmanaged[Cdecl]<nint, long> GetNanoseconds;
    internal nint NewTimer;
    internal delegate* unmanaged[Cdecl]<nint, nint, void> FreeTimer;
    internal delegate* unmanaged[Cdecl]<nint, long, nint, void> ModifyTimer;
    internal delegate* unmanaged[Cdecl]<int, nint, void> RegisterDescriptor;
    internal delegate* unmanaged[Cdecl]<int, nint, void> UnregisterDescriptor;
    internal delegate* unmanaged[Cdecl]<nint, void> Notify;
    internal nint InitCompleted;
    internal delegate* unmanaged[Cdecl]<int, nint, nint, nint> NewTimerOpaque;
}
