using System.Buffers.Binary;

namespace Doppel.Devices.Network;

/// <summary>Where the headers of a frame are, as far as segmentation needs to know.</summary>
internal readonly ref struct FrameHeaders
{
    internal const byte Tcp = 6, Udp = 17;
    private const int EthernetLength = 14;
    private const ushort Ipv4 = 0x0800, Ipv6 = 0x86DD, Vlan = 0x8100, ServiceVlan = 0x88A8;

    private FrameHeaders(int network, int transport, byte protocol, bool isIpv6)
    {
        Network = network;
        Transport = transport;
        Protocol = protocol;
        IsIpv6 = isIpv6;
    }

    /// <summary>Offset of the IP header.</summary>
    internal int Network { get; }

    /// <summary>Offset of what follows the IP header; extension headers of IPv6 count as that.</summary>
    internal int Transport { get; }

    /// <summary>IP's protocol number.</summary>
    internal byte Protocol { get; }

    internal bool IsIpv6 { get; }

    /// <summary>Finds them.</summary>
    /// <returns>False for what is not IP, or too short.</returns>
    internal static bool TryFind(ReadOnlySpan<byte> frame, out FrameHeaders headers)
    {
        headers = default;
        int at = EthernetLength;
        if (frame.Length < at)
            return false;
        ushort type = BinaryPrimitives.ReadUInt16BigEndian(frame[12..]);
        for (int tags = 0; tags < 2 && type is Vlan or ServiceVlan; tags++)
        {
            at += 4;
            if (frame.Length < at)
                return false;
            type = BinaryPrimitives.ReadUInt16BigEndian(frame[(at - 2)..]);
        }

        if (type == Ipv4 && frame.Length >= at + 20)
        {
            int length = (frame[at] & 15) * 4;
            if (frame[at] >> 4 != 4 || length < 20 || frame.Length < at + length)
                return false;
            headers = new FrameHeaders(at, at + length, frame[at + 9], isIpv6: false);
            return true;
        }

        if (type != Ipv6 || frame.Length < at + 40 || frame[at] >> 4 != 6)
            return false;
        headers = new FrameHeaders(at, at + 40, frame[at + 6], isIpv6: true);
        return true;
    }

    /// <summary>The sum of the pseudo header (RFC 9293, 3.1; RFC 8200, 8.1).</summary>
    internal ulong PseudoHeader(ReadOnlySpan<byte> frame, byte protocol, int length)
    {
        ReadOnlySpan<byte> addresses = IsIpv6 ? frame.Slice(Network + 8, 32) : frame.Slice(Network + 12, 8);
        Span<byte> rest = stackalloc byte[8];
        BinaryPrimitives.WriteUInt32BigEndian(rest, (uint)length);
        rest[7] = protocol;
        return InternetChecksum.Add(rest, InternetChecksum.Add(addresses));
    }
}
