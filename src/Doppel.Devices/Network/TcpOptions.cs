using System.Buffers.Binary;

namespace Doppel.Devices.Network;

/// <summary>Options of TCP (RFC 9293, 3.2).</summary>
internal static class TcpOptions
{
    private const byte Syn = 2;
    private const byte End = 0, NoOperation = 1, MaximumSegmentSize = 2;

    /// <summary>Replaces the maximum segment size that a SYN announces by the largest there is.</summary>
    /// <param name="segment">TCP's header and what follows.</param>
    /// <param name="isUnfinished">True when the checksum is still to be computed, so that it needs no correction.</param>
    internal static void HideSegmentSize(Span<byte> segment, bool isUnfinished)
    {
        if (segment.Length < 20 || (segment[13] & Syn) == 0)
            return;
        int length = Math.Min((segment[12] >> 4) * 4, segment.Length);
        for (int at = 20; at + 1 < length;)
        {
            byte kind = segment[at];
            if (kind == End)
                return;
            int size = kind == NoOperation ? 1 : segment[at + 1];
            if (size == 0 || (size == 1 && kind != NoOperation))
                return;
            if (kind == MaximumSegmentSize && size == 4 && at + 4 <= length)
            {
                Span<byte> value = segment.Slice(at + 2, 2);
                ushort old = BinaryPrimitives.ReadUInt16BigEndian(value);
                BinaryPrimitives.WriteUInt16BigEndian(value, ushort.MaxValue);
                // An option may lie at an odd address, where its bytes count the other way round (RFC 1624).
                bool isOdd = (at & 1) != 0;
                if (!isUnfinished)
                    Correct(segment[16..], isOdd ? BinaryPrimitives.ReverseEndianness(old) : old, ushort.MaxValue);
                return;
            }

            at += size;
        }
    }

    private static void Correct(Span<byte> checksum, ushort old, ushort now)
    {
        uint sum = (uint)(ushort)~BinaryPrimitives.ReadUInt16BigEndian(checksum) + (ushort)~old + now;
        sum = (sum & 0xFFFF) + (sum >> 16);
        sum = (sum & 0xFFFF) + (sum >> 16);
        BinaryPrimitives.WriteUInt16BigEndian(checksum, (ushort)~sum);
    }
}
