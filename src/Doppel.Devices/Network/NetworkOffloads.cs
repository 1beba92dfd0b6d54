namespace Doppel.Devices.Network;

/// <summary>What one side of a network may be given unfinished: frames whose checksum is not complete, or that are still to be cut into segments.</summary>
[Flags]
public enum NetworkOffloads
{
    /// <summary>Finished frames only.</summary>
    None = 0,

    /// <summary>Frames whose transport checksum is still to be completed.</summary>
    Checksum = 1,

    /// <summary>TCP over IPv4 of up to 64 KiB.</summary>
    Tcp4 = 2,

    /// <summary>TCP over IPv6 of up to 64 KiB.</summary>
    Tcp6 = 4,

    /// <summary>Such TCP frames with the CWR bit set.</summary>
    Ecn = 8,

    /// <summary>Several UDP datagrams of equal length in one frame.</summary>
    Udp = 16,

    /// <summary>Everything.</summary>
    All = Checksum | Tcp4 | Tcp6 | Ecn | Udp,
}
