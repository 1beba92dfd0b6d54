using System.Runtime.InteropServices;

namespace Doppel.Devices.Display;

/// <summary>Pixels of a frame buffer as 00RRGGBBh.</summary>
internal static class PixelRow
{
    /// <summary>Bytes of a pixel.</summary>
    /// <param name="bits">8, 15, 16, 24 or 32.</param>
    internal static int BytesOf(int bits) => (bits + 7) / 8;

    /// <summary>Converts pixels that follow each other.</summary>
    /// <param name="bits">Bits of a pixel: 8 (a number of a colour), 15 (5-5-5), 16 (5-6-5), 24 or 32.</param>
    /// <param name="source">Their bytes, the lowest first.</param>
    /// <param name="colors">256 colours, for pixels of 8 bits.</param>
    /// <param name="row">Where they go: as many as it has.</param>
    internal static void Convert(int bits, ReadOnlySpan<byte> source, ReadOnlySpan<uint> colors, Span<uint> row)
    {
        switch (bits)
        {
            case 8:
                for (int i = 0; i < row.Length; i++)
                    row[i] = colors[source[i]];
                break;
            case 15:
                ReadOnlySpan<ushort> words = MemoryMarshal.Cast<byte, ushort>(source);
                for (int i = 0; i < row.Length; i++)
                    row[i] = Widen5((uint)words[i] >> 10) << 16 | Widen5((uint)words[i] >> 5) << 8 | Widen5(words[i]);
                break;
            case 16:
                words = MemoryMarshal.Cast<byte, ushort>(source);
                for (int i = 0; i < row.Length; i++)
                {
                    uint green = ((uint)words[i] >> 5) & 0x3F;
                    row[i] = Widen5((uint)words[i] >> 11) << 16 | ((green << 2) | (green >> 4)) << 8 | Widen5(words[i]);
                }

                break;
            case 24:
                for (int i = 0; i < row.Length; i++)
                    row[i] = source[3 * i] | ((uint)source[(3 * i) + 1] << 8) | ((uint)source[(3 * i) + 2] << 16);
                break;
            default:
                ReadOnlySpan<uint> words32 = MemoryMarshal.Cast<byte, uint>(source);
                for (int i = 0; i < row.Length; i++)
                    row[i] = words32[i] & 0xFFFFFF;
                break;
        }
    }

    private static uint Widen5(uint value) => ((value & 31) << 3) | ((value & 31) >> 2);
}
