using System.Buffers.Binary;

namespace Doppel.Devices.Network;

/// <summary>
/// A frame that tells switches where an Ethernet address is now, for a guest that doesn't do so itself: a reverse ARP request
/// (RFC 903) to everybody, which needs no IP address and which nobody answers.
/// </summary>
public static class AddressAnnouncement
{
    /// <summary>Bytes of the frame: the shortest that Ethernet has, without its check sequence.</summary>
    public const int Length = 60;

    private const ushort ReverseArp = 0x8035, Ethernet = 1, Ip = 0x0800, Request = 3;

    /// <summary>Writes the frame.</summary>
    /// <param name="address">The address.</param>
    /// <param name="frame">At least <see cref="Length"/> bytes.</param>
    public static void Write(MacAddress address, Span<byte> frame)
    {
        frame = frame[..Length];
        frame.Clear();
        MacAddress.Broadcast.Write(frame);
        address.Write(frame[6..]);
        BinaryPrimitives.WriteUInt16BigEndian(frame[12..], ReverseArp);
        BinaryPrimitives.WriteUInt16BigEndian(frame[14..], Ethernet);
        BinaryPrimitives.WriteUInt16BigEndian(frame[16..], Ip);
        frame[18] = MacAddress.Length;
        frame[19] = sizeof(uint);
        BinaryPrimitives.WriteUInt16BigEndian(frame[20..], Request);
        // Sender and target are the address itself; neither has an IP address.
        address.Write(frame[22..]);
        address.Write(frame[32..]);
    }
}
