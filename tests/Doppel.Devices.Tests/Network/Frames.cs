using System.Buffers.Binary;
using Doppel.Devices.Network;

namespace Doppel.Devices.Tests.Network;

/// <summary>Makes frames, and checks finished ones by code of its own.</summary>
internal static class Frames
{
    internal static byte[] Random(Random random, int length)
    {
        byte[] frame = new byte[length];
        random.NextBytes(frame);
        frame[0] &= 0xFE;
        (frame[12], frame[13]) = (0x88, 0xB5);
        return frame;
    }

    /// <summary>A TCP or UDP frame whose checksum field holds the pseudo header's, as drivers leave it.</summary>
    internal static (FrameOffload Offload, byte[] Frame) Unfinished(Random random, SegmentKind kind, bool isIpv6, int payload, int segmentSize, int tags = 0)
    {
        bool isTcp = kind != SegmentKind.Udp;
        int network = 14 + (4 * tags), transport = network + (isIpv6 ? 40 : 20), header = isTcp ? 32 : 8;
        byte[] frame = Random(random, transport + header + payload);
        for (int i = 0; i < tags; i++)
            BinaryPrimitives.WriteUInt32BigEndian(frame.AsSpan(12 + (4 * i)), 0x8100_0005);
        BinaryPrimitives.WriteUInt16BigEndian(frame.AsSpan(network - 2), (ushort)(isIpv6 ? 0x86DD : 0x0800));
        Span<byte> ip = frame.AsSpan(network);
        if (isIpv6)
        {
            BinaryPrimitives.WriteUInt32BigEndian(ip, 0x6000_0000);
            BinaryPrimitives.WriteUInt16BigEndian(ip[4..], (ushort)(header + payload));
            ip[6] = (byte)(isTcp ? 6 : 17);
        }
        else
        {
            BinaryPrimitives.WriteUInt32BigEndian(ip, 0x4500_0000 | (uint)(20 + header + payload));
            BinaryPrimitives.WriteUInt16BigEndian(ip[6..], 0x4000);
            ip[9] = (byte)(isTcp ? 6 : 17);
            ip[10..12].Clear();
            BinaryPrimitives.WriteUInt16BigEndian(ip[10..], (ushort)~Sum(ip[..20]));
        }

        Span<byte> l4 = frame.AsSpan(transport);
        if (isTcp)
            (l4[12], l4[13]) = (0x80, 0x99);
        else
            BinaryPrimitives.WriteUInt16BigEndian(l4[4..], (ushort)(8 + payload));
        int at = isTcp ? 16 : 6;
        BinaryPrimitives.WriteUInt16BigEndian(l4[at..], PseudoHeader(frame, network, isIpv6, (byte)(isTcp ? 6 : 17), l4.Length));
        var offload = new FrameOffload
        {
            NeedsChecksum = true,
            Kind = segmentSize == 0 ? SegmentKind.None : kind,
            HasEcn = segmentSize != 0 && isTcp,
            SegmentSize = (ushort)segmentSize,
            HeaderLength = (ushort)(transport + header),
            ChecksumStart = (ushort)transport,
            ChecksumOffset = (ushort)at,
        };
        return (offload, frame);
    }

    /// <summary>Checks lengths and checksums of a finished frame and returns its payload.</summary>
    internal static byte[] Check(byte[] frame)
    {
        int network = 14;
        while (frame[network - 2] == 0x81)
            network += 4;
        bool isIpv6 = frame[network - 2] == 0x86;
        Span<byte> ip = frame.AsSpan(network);
        int transport = network + (isIpv6 ? 40 : 20);
        byte protocol = isIpv6 ? ip[6] : ip[9];
        Assert.Equal(ip.Length - (isIpv6 ? 40 : 0), BinaryPrimitives.ReadUInt16BigEndian(isIpv6 ? ip[4..] : ip[2..]));
        if (!isIpv6)
            Assert.Equal(0xFFFF, Sum(ip[..20]));
        Span<byte> l4 = frame.AsSpan(transport);
        Assert.Equal(0xFFFFu, Fold(PseudoHeader(frame, network, isIpv6, protocol, l4.Length) + (uint)Sum(l4)));
        if (protocol == 17)
            Assert.Equal(l4.Length, BinaryPrimitives.ReadUInt16BigEndian(l4[4..]));
        return l4[(protocol == 17 ? 8 : 32)..].ToArray();
    }

    /// <summary>True when the checksum of a TCP segment over IPv4 is right.</summary>
    internal static bool CheckTcp(byte[] frame) => Fold(PseudoHeader(frame, 14, isIpv6: false, 6, frame.Length - 34) + (uint)Sum(frame.AsSpan(34))) == 0xFFFF;

    internal static ushort Sum(ReadOnlySpan<byte> bytes)
    {
        uint sum = 0;
        for (int i = 0; i < bytes.Length; i++)
            sum = Fold(sum + (uint)(bytes[i] << ((i & 1) == 0 ? 8 : 0)));
        return (ushort)sum;
    }

    internal static ushort PseudoHeader(byte[] frame, int network, bool isIpv6, byte protocol, int length)
    {
        Span<byte> addresses = frame.AsSpan(network + (isIpv6 ? 8 : 12), isIpv6 ? 32 : 8);
        return (ushort)Fold(Sum(addresses) + (uint)protocol + (uint)length);
    }

    private static uint Fold(uint sum) => (sum & 0xFFFF) + (sum >> 16);
}
