using System.Buffers.Binary;
using System.Numerics;
using System.Runtime.InteropServices;

namespace Doppel.Devices.Network;

/// <summary>The checksum of IP, TCP and UDP: the complement of the ones' complement sum of 16-bit words (RFC 1071).</summary>
public static class InternetChecksum
{
    /// <summary>Adds bytes to a sum; an odd last byte counts as if a zero followed. Only the last piece of a sum may be odd.</summary>
    /// <param name="bytes">What is added.</param>
    /// <param name="sum">The sum so far, as this function returns it.</param>
    public static ulong Add(ReadOnlySpan<byte> bytes, ulong sum = 0)
    {
        // Ones' complement sums don't depend on byte order (RFC 1071, 2 B), so words are added as they lie and swapped at the end.
        ReadOnlySpan<Vector<uint>> vectors = MemoryMarshal.Cast<byte, Vector<uint>>(bytes);
        Vector<ulong> low = default, high = default;
        foreach (Vector<uint> vector in vectors)
        {
            Vector.Widen(vector, out Vector<ulong> first, out Vector<ulong> second);
            low += first;
            high += second;
        }

        sum += Vector.Sum(low) + Vector.Sum(high);
        bytes = bytes[(vectors.Length * Vector<byte>.Count)..];
        for (; bytes.Length >= 4; bytes = bytes[4..])
            sum += BinaryPrimitives.ReadUInt32LittleEndian(bytes);
        if (bytes.Length >= 2)
        {
            sum += BinaryPrimitives.ReadUInt16LittleEndian(bytes);
            bytes = bytes[2..];
        }

        return bytes.Length == 0 ? sum : sum + bytes[0];
    }

    /// <summary>The checksum that a sum leads to, as a number to be stored with its high byte first.</summary>
    public static ushort Finish(ulong sum)
    {
        while (sum > ushort.MaxValue)
            sum = (sum & ushort.MaxValue) + (sum >> 16);
        return BinaryPrimitives.ReverseEndianness((ushort)~sum);
    }

    /// <summary>Completes the checksum of a frame that says where it is to be.</summary>
    public static void Complete(in FrameOffload offload, Span<byte> frame)
    {
        Span<byte> counted = frame[offload.ChecksumStart..];
        ushort checksum = Finish(Add(counted));
        // A UDP checksum of zero means that there is none (RFC 768); for TCP the two forms of zero are equal.
        BinaryPrimitives.WriteUInt16BigEndian(counted[offload.ChecksumOffset..], checksum == 0 ? ushort.MaxValue : checksum);
    }
}
