using System.Buffers.Binary;

namespace Doppel.Devices.Network;

/// <summary>A small number that the frames of one connection share, in both directions.</summary>
internal static class FlowHash
{
    /// <summary>Computes it.</summary>
    /// <param name="frame">At least an Ethernet header.</param>
    internal static byte Of(ReadOnlySpan<byte> frame)
    {
        uint sum = 0;
        if (FrameHeaders.TryFind(frame, out FrameHeaders headers))
        {
            // Sums don't tell sender and receiver apart.
            ReadOnlySpan<byte> addresses = headers.IsIpv6 ? frame.Slice(headers.Network + 8, 32) : frame.Slice(headers.Network + 12, 8);
            for (; !addresses.IsEmpty; addresses = addresses[4..])
                sum += BinaryPrimitives.ReadUInt32BigEndian(addresses);
            if (headers.Protocol is FrameHeaders.Tcp or FrameHeaders.Udp && frame.Length >= headers.Transport + 4)
                sum += (uint)BinaryPrimitives.ReadUInt16BigEndian(frame[headers.Transport..]) + BinaryPrimitives.ReadUInt16BigEndian(frame[(headers.Transport + 2)..]);
        }

        return (byte)((sum * 2654435769) >> 24);
    }
}
