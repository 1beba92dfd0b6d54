namespace Doppel.Devices.Network;

/// <summary>What a frame is to be cut into (virtio 1.2, 5.1.6: gso_type without its ECN bit).</summary>
public enum SegmentKind
{
    /// <summary>Nothing: it is one frame.</summary>
    None = 0,

    /// <summary>TCP segments over IPv4.</summary>
    Tcp4 = 1,

    /// <summary>TCP segments over IPv6.</summary>
    Tcp6 = 4,

    /// <summary>UDP datagrams.</summary>
    Udp = 5,
}
