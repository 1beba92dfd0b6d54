using System.Buffers.Binary;
using System.Runtime.InteropServices;

namespace Doppel.Devices.Display.Rfb;

/// <summary>How a client wants its pixels (RFC 6143, 7.4).</summary>
internal sealed record RfbPixelFormat(
    int BitsPerPixel, int Depth, bool IsBigEndian, bool IsTrueColor, int RedMax, int GreenMax, int BlueMax, int RedShift, int GreenShift, int BlueShift)
{
    /// <summary>Bytes of the structure.</summary>
    internal const int Length = 16;

    /// <summary>What the server offers: 00RRGGBBh, little-endian.</summary>
    internal static readonly RfbPixelFormat Native = new(32, 24, false, true, 255, 255, 255, 16, 8, 0);

    /// <summary>What clients with a palette get: three bits of red and green, two of blue.</summary>
    internal static readonly RfbPixelFormat Palette = new(8, 8, false, true, 7, 7, 3, 5, 2, 0);

    internal int Bytes => BitsPerPixel / 8;

    /// <summary>True when a pixel of ZRLE and Tight has three bytes.</summary>
    internal bool IsCompact => BitsPerPixel == 32 && Depth == 24 && IsTrueColor && RedMax == 255 && GreenMax == 255 && BlueMax == 255;

    /// <summary>Bytes of a pixel of ZRLE.</summary>
    internal int CompactBytes => IsCompact && (FitsLow || FitsHigh) ? 3 : Bytes;

    private bool FitsLow => RedShift <= 16 && GreenShift <= 16 && BlueShift <= 16;

    private bool FitsHigh => RedShift >= 8 && GreenShift >= 8 && BlueShift >= 8;

    /// <summary>Reads the structure; null when it makes no sense.</summary>
    internal static RfbPixelFormat? Read(ReadOnlySpan<byte> bytes)
    {
        int bits = bytes[0];
        if (bits is not (8 or 16 or 32))
            return null;
        if (bytes[3] == 0)
            return bits == 8 ? Palette with { IsTrueColor = false } : null;
        var format = new RfbPixelFormat(
            bits, bytes[1], bytes[2] != 0, true, BinaryPrimitives.ReadUInt16BigEndian(bytes[4..]), BinaryPrimitives.ReadUInt16BigEndian(bytes[6..]), BinaryPrimitives.ReadUInt16BigEndian(bytes[8..]), bytes[10], bytes[11], bytes[12]);
        return Fits(format.RedMax, format.RedShift, bits) && Fits(format.GreenMax, format.GreenShift, bits) && Fits(format.BlueMax, format.BlueShift, bits) ? format : null;
    }

    internal void Write(Span<byte> bytes)
    {
        bytes.Clear();
        bytes[0] = (byte)BitsPerPixel;
        bytes[1] = (byte)Depth;
        bytes[2] = IsBigEndian ? (byte)1 : (byte)0;
        bytes[3] = IsTrueColor ? (byte)1 : (byte)0;
        BinaryPrimitives.WriteUInt16BigEndian(bytes[4..], (ushort)RedMax);
        BinaryPrimitives.WriteUInt16BigEndian(bytes[6..], (ushort)GreenMax);
        BinaryPrimitives.WriteUInt16BigEndian(bytes[8..], (ushort)BlueMax);
        bytes[10] = (byte)RedShift;
        bytes[11] = (byte)GreenShift;
        bytes[12] = (byte)BlueShift;
    }

    /// <summary>Appends pixels as this format has them.</summary>
    internal void Append(RfbBuffer output, ReadOnlySpan<uint> pixels)
    {
        Span<byte> bytes = output.Take(pixels.Length * Bytes);
        if (this == Native)
        {
            MemoryMarshal.AsBytes(pixels).CopyTo(bytes);
            return;
        }

        for (int i = 0; i < pixels.Length; i++)
            Put(Convert(pixels[i]), bytes.Slice(i * Bytes, Bytes));
    }

    /// <summary>Appends pixels as ZRLE has them: without the byte that is always zero.</summary>
    internal void AppendCompact(RfbBuffer output, ReadOnlySpan<uint> pixels)
    {
        if (CompactBytes == Bytes)
        {
            Append(output, pixels);
            return;
        }

        Span<byte> whole = stackalloc byte[4];
        Span<byte> bytes = output.Take(pixels.Length * 3);
        // The three bytes that count: the low ones, or the high ones.
        int skipped = FitsLow == IsBigEndian ? 1 : 0;
        for (int i = 0; i < pixels.Length; i++)
        {
            Put(Convert(pixels[i]), whole);
            whole.Slice(skipped, 3).CopyTo(bytes[(3 * i)..]);
        }
    }

    /// <summary>Appends pixels as Tight has them: red, green and blue where they have 8 bits each.</summary>
    internal void AppendTight(RfbBuffer output, ReadOnlySpan<uint> pixels)
    {
        if (!IsCompact)
        {
            Append(output, pixels);
            return;
        }

        Span<byte> bytes = output.Take(pixels.Length * 3);
        for (int i = 0; i < pixels.Length; i++)
            (bytes[3 * i], bytes[(3 * i) + 1], bytes[(3 * i) + 2]) = ((byte)(pixels[i] >> 16), (byte)(pixels[i] >> 8), (byte)pixels[i]);
    }

    private static bool Fits(int maximum, int shift, int bits) => shift < bits && (ulong)maximum << shift < 1UL << bits;

    private uint Convert(uint pixel) =>
        (Scale(pixel >> 16, RedMax) << RedShift) | (Scale(pixel >> 8, GreenMax) << GreenShift) | (Scale(pixel, BlueMax) << BlueShift);

    private static uint Scale(uint component, int maximum) => (((component & 0xFF) * (uint)maximum) + 127) / 255;

    private void Put(uint value, Span<byte> bytes)
    {
        switch (bytes.Length)
        {
            case 1:
                bytes[0] = (byte)value;
                break;
            case 2 when IsBigEndian:
                BinaryPrimitives.WriteUInt16BigEndian(bytes, (ushort)value);
                break;
            case 2:
                BinaryPrimitives.WriteUInt16LittleEndian(bytes, (ushort)value);
                break;
            default:
                if (IsBigEndian)
                    BinaryPrimitives.WriteUInt32BigEndian(bytes, value);
                else
                    BinaryPrimitives.WriteUInt32LittleEndian(bytes, value);
                break;
        }
    }
}
