namespace Doppel.Devices.Virtio;

/// <summary>Feature bits of a network device (virtio 1.2, 5.1.3).</summary>
internal static class VirtioNetFeature
{
    internal const ulong Checksum = 1UL << 0;
    internal const ulong GuestChecksum = 1UL << 1;
    internal const ulong ControlGuestOffloads = 1UL << 2;
    internal const ulong Mtu = 1UL << 3;
    internal const ulong Mac = 1UL << 5;
    internal const ulong GuestTso4 = 1UL << 7;
    internal const ulong GuestTso6 = 1UL << 8;
    internal const ulong GuestEcn = 1UL << 9;
    internal const ulong HostTso4 = 1UL << 11;
    internal const ulong HostTso6 = 1UL << 12;
    internal const ulong HostEcn = 1UL << 13;
    internal const ulong MergeableBuffers = 1UL << 15;
    internal const ulong Status = 1UL << 16;
    internal const ulong ControlQueue = 1UL << 17;
    internal const ulong ControlReceive = 1UL << 18;
    internal const ulong ControlVlan = 1UL << 19;
    internal const ulong ControlReceiveExtra = 1UL << 20;
    internal const ulong GuestAnnounce = 1UL << 21;
    internal const ulong MultipleQueues = 1UL << 22;
    internal const ulong ControlMac = 1UL << 23;
    internal const ulong GuestUso4 = 1UL << 54;
    internal const ulong GuestUso6 = 1UL << 55;
    internal const ulong HostUso = 1UL << 56;

    /// <summary>What the control queue can turn off and on again (5.1.6.5.6).</summary>
    internal const ulong GuestOffloads = GuestChecksum | GuestTso4 | GuestTso6 | GuestEcn | GuestUso4 | GuestUso6;

    /// <summary>What is always offered. UFO is not: it would need IP fragments, and drivers have given it up for USO.</summary>
    internal const ulong Common = Checksum | GuestOffloads | ControlGuestOffloads | Mac | HostTso4 | HostTso6 | HostEcn | HostUso | MergeableBuffers
        | Status | ControlQueue | ControlReceive | ControlVlan | ControlReceiveExtra | GuestAnnounce | ControlMac;
}
