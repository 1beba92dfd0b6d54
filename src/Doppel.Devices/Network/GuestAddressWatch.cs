using System.Buffers.Binary;
using System.Net;

namespace Doppel.Devices.Network;

/// <summary>
/// Sees from the frames of a card when its guest has an address: when a DHCP server has given it one (RFC 2131, DHCPACK), or when it uses
/// one that is no link-local one, in ARP (RFC 826), IPv4 or IPv6. Asks the guest nothing. One thread at a time; <see cref="Begin"/> is for any.
/// </summary>
/// <param name="found">Told the address, once after each <see cref="Begin"/>; on the network's thread, without a lock.</param>
public sealed class GuestAddressWatch(Action<IPAddress> found)
{
    private const int EthernetHeader = 14, Ipv4Header = 20, UdpHeader = 8, BootpFixed = 236;
    private const ushort Ipv4 = 0x0800, Arp = 0x0806, Ipv6 = 0x86DD, DhcpServer = 67, DhcpClient = 68;
    private const uint DhcpMagic = 0x63825363;
    private const byte Udp = 17, MessageType = 53, Acknowledgement = 5, Pad = 0, End = 255;
    private volatile bool _isOver;

    /// <summary>Looks anew: the machine was reset.</summary>
    public void Begin() => _isOver = false;

    /// <summary>The guest has an address already; it had it before its machine came here.</summary>
    public void Pause() => _isOver = true;

    /// <summary>A frame of the guest.</summary>
    public void Sent(ReadOnlySpan<byte> frame)
    {
        if (_isOver || frame.Length < EthernetHeader + Ipv4Header)
            return;
        ReadOnlySpan<byte> packet = frame[EthernetHeader..];
        ReadOnlySpan<byte> address = BinaryPrimitives.ReadUInt16BigEndian(frame[12..]) switch
        {
            // Hardware addresses of 6 bytes, protocol addresses of IPv4.
            Arp when packet.Length >= 28 && BinaryPrimitives.ReadUInt64BigEndian(packet) >> 16 == 0x0001_0800_0604 => packet.Slice(14, 4),
            Ipv4 => packet.Slice(12, 4),
            Ipv6 when packet.Length >= 40 => packet.Slice(8, 16),
            _ => default,
        };
        if (!address.IsEmpty && IsGlobal(address))
            Find(address);
    }

    /// <summary>A frame for the guest.</summary>
    public void Received(ReadOnlySpan<byte> frame)
    {
        if (_isOver || frame.Length < EthernetHeader + Ipv4Header + UdpHeader + BootpFixed + 4 || BinaryPrimitives.ReadUInt16BigEndian(frame[12..]) != Ipv4)
            return;
        ReadOnlySpan<byte> packet = frame[EthernetHeader..];
        int header = (packet[0] & 15) * 4;
        if (packet[9] != Udp || header < Ipv4Header || packet.Length < header + UdpHeader + BootpFixed + 4)
            return;
        ReadOnlySpan<byte> udp = packet[header..], message = udp[UdpHeader..];
        if (BinaryPrimitives.ReadUInt16BigEndian(udp) == DhcpServer && BinaryPrimitives.ReadUInt16BigEndian(udp[2..]) == DhcpClient
            && BinaryPrimitives.ReadUInt32BigEndian(message[BootpFixed..]) == DhcpMagic && IsAcknowledgement(message[(BootpFixed + 4)..]))
        {
            Find(message.Slice(16, 4));
        }
    }

    private static bool IsAcknowledgement(ReadOnlySpan<byte> options)
    {
        while (options.Length >= 3 && options[0] != End)
        {
            if (options[0] == Pad)
            {
                options = options[1..];
                continue;
            }

            if (options[0] == MessageType)
                return options[2] == Acknowledgement;
            int length = 2 + options[1];
            if (length > options.Length)
                return false;
            options = options[length..];
        }

        return false;
    }

    // Not one that a guest gives itself before it has another, nor none.
    private static bool IsGlobal(ReadOnlySpan<byte> address) => address.Length == 4
        ? address[0] is not (0 or 127 or >= 224) && !(address[0] == 169 && address[1] == 254)
        : address[0] is not (0 or 0xFF) && !(address[0] == 0xFE && (address[1] & 0xC0) == 0x80);

    private void Find(ReadOnlySpan<byte> address)
    {
        _isOver = true;
        found(new IPAddress(address));
    }
}
