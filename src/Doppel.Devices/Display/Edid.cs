using System.Buffers.Binary;
using System.Text;

namespace Doppel.Devices.Display;

/// <summary>What a monitor tells of itself: VESA's extended display identification data, version 1.4, one block.</summary>
internal static class Edid
{
    /// <summary>Bytes of the block.</summary>
    internal const int Length = 128;

    private const int RefreshRate = 60;

    /// <summary>Makes the data of a monitor.</summary>
    /// <param name="width">Columns of the mode that it likes best: 8 to 4095.</param>
    /// <param name="height">Rows: 8 to 4095.</param>
    internal static byte[] Make(int width, int height)
    {
        byte[] block = new byte[Length];
        Span<byte> edid = block;
        ReadOnlySpan<byte> header = [0x00, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x00];
        header.CopyTo(edid);
        // Three letters of five bits: DPL.
        BinaryPrimitives.WriteUInt16BigEndian(edid[8..], (('D' - '@') << 10) | (('P' - '@') << 5) | ('L' - '@'));
        edid[10] = 1;
        // The year from 1990 on, and the version.
        (edid[17], edid[18], edid[19]) = (2026 - 1990, 1, 4);
        // Digital, 8 bits a colour; centimetres at 96 dots an inch; gamma 2.2; RGB, and the first detailed timing is the one it likes.
        (int millimetresX, int millimetresY) = (Millimetres(width), Millimetres(height));
        (edid[20], edid[21], edid[22], edid[23], edid[24]) = (0xA0, (byte)(millimetresX / 10), (byte)(millimetresY / 10), 120, 0x06);
        // The colours of sRGB.
        ReadOnlySpan<byte> colors = [0xEE, 0x91, 0xA3, 0x54, 0x4C, 0x99, 0x26, 0x0F, 0x50, 0x54];
        colors.CopyTo(edid[25..]);
        // 640x480, 800x600 and 1024x768 at 60 Hz; no standard timings.
        (edid[35], edid[36]) = (0x21, 0x08);
        edid[38..54].Fill(1);
        WriteTiming(edid[54..72], width, height, millimetresX, millimetresY);
        WriteText(edid[72..90], 0xFC, "Doppel");
        // Its limits: 50 to 75 Hz, 30 to 160 kHz, 600 MHz.
        ReadOnlySpan<byte> limits = [0, 0, 0, 0xFD, 0, 50, 75, 30, 160, 60, 1, 0x0A, 0x20, 0x20, 0x20, 0x20, 0x20, 0x20];
        limits.CopyTo(edid[90..]);
        WriteText(edid[108..126], 0xFF, "0");
        int sum = 0;
        foreach (byte part in edid)
            sum += part;
        edid[127] = (byte)-sum;
        return block;
    }

    private static int Millimetres(int pixels) => (int)(pixels * 25.4 / 96);

    // VESA's coordinated video timings with reduced blanking.
    private static void WriteTiming(Span<byte> timing, int width, int height, int millimetresX, int millimetresY)
    {
        const int Blank = 160, Front = 48, Sync = 32, FrontLines = 3, SyncLines = 6;
        const double LeastBlank = 460e-6;
        int blankLines = (int)(LeastBlank * height / ((1.0 / RefreshRate) - LeastBlank)) + 1;
        int clock = (int)((long)(width + Blank) * (height + blankLines) * RefreshRate / 10_000);
        BinaryPrimitives.WriteUInt16LittleEndian(timing, (ushort)Math.Min(clock, ushort.MaxValue));
        (timing[2], timing[3], timing[4]) = ((byte)width, Blank, (byte)(width >> 8 << 4));
        (timing[5], timing[6], timing[7]) = ((byte)height, (byte)blankLines, (byte)(height >> 8 << 4));
        (timing[8], timing[9], timing[10]) = (Front, Sync, (FrontLines << 4) | SyncLines);
        (timing[12], timing[13], timing[14]) = ((byte)millimetresX, (byte)millimetresY, (byte)((millimetresX >> 8 << 4) | (millimetresY >> 8)));
        // Digital, separate; the horizontal impulse positive, the vertical one not.
        timing[17] = 0x1A;
    }

    private static void WriteText(Span<byte> descriptor, byte tag, string text)
    {
        descriptor.Clear();
        descriptor[3] = tag;
        descriptor[5..].Fill((byte)' ');
        descriptor[5 + Encoding.ASCII.GetBytes(text, descriptor[5..])] = (byte)'\n';
    }
}
