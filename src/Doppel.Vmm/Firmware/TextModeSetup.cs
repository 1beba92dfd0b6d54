using System.Buffers.Binary;
using Doppel.Machine.Bus;
using Doppel.Machine.Memory;

namespace Doppel.Vmm.Firmware;

/// <summary>
/// Brings a VGA into text mode 3 as its BIOS does, where a kernel is entered without firmware: 80 by 25 characters of 9 by
/// 16 pixels, the font in plane 2, an empty screen (IBM VGA technical reference, "Video mode tables").
/// </summary>
internal static class TextModeSetup
{
    private const ulong DataArea = 0x400;

    private static ReadOnlySpan<byte> Sequencer => [0x03, 0x00, 0x03, 0x00, 0x02];

    private static ReadOnlySpan<byte> Crtc =>
    [
        0x5F, 0x4F, 0x50, 0x82, 0x55, 0x81, 0xBF, 0x1F, 0x00, 0x4F, 0x0D, 0x0E, 0x00, 0x00, 0x00, 0x00,
        0x9C, 0x8E, 0x8F, 0x28, 0x1F, 0x96, 0xB9, 0xA3, 0xFF,
    ];

    private static ReadOnlySpan<byte> Graphics => [0x00, 0x00, 0x00, 0x00, 0x00, 0x10, 0x0E, 0x00, 0xFF];

    private static ReadOnlySpan<byte> Attribute =>
    [
        0x00, 0x01, 0x02, 0x03, 0x04, 0x05, 0x14, 0x07, 0x38, 0x39, 0x3A, 0x3B, 0x3C, 0x3D, 0x3E, 0x3F,
        0x0C, 0x00, 0x0F, 0x08, 0x00,
    ];

    /// <summary>Programs the registers, and writes font and data area.</summary>
    /// <param name="ports">The machine's ports.</param>
    /// <param name="windows">The machine's memory-mapped devices.</param>
    /// <param name="memory">Its memory.</param>
    /// <param name="font">256 characters of 16 lines; empty for none.</param>
    internal static void Install(IoBus ports, IoBus windows, GuestMemory memory, ReadOnlySpan<byte> font)
    {
        ports.Write(0x3C2, 1, 0x67);
        if (!font.IsEmpty)
            LoadFont(ports, windows, font);
        WriteIndexed(ports, 0x3C4, Sequencer);
        // Register 11h protects the first ones.
        ports.Write(0x3D4, 2, 0x0011);
        WriteIndexed(ports, 0x3D4, Crtc);
        WriteIndexed(ports, 0x3CE, Graphics);
        _ = ports.Read(0x3DA, 1);
        for (int i = 0; i < Attribute.Length; i++)
        {
            ports.Write(0x3C0, 1, (ulong)i);
            ports.Write(0x3C0, 1, Attribute[i]);
        }

        ports.Write(0x3C0, 1, 0x20);
        WritePalette(ports);
        for (ulong i = 0; i < 80 * 25; i++)
            windows.Write(0xB8000 + (2 * i), 2, 0x0720);
        WriteDataArea(memory);
    }

    // Planes one by one, at A0000h: each character has room for 32 lines.
    private static void LoadFont(IoBus ports, IoBus windows, ReadOnlySpan<byte> font)
    {
        ports.Write(0x3C4, 2, 0x0402);
        ports.Write(0x3C4, 2, 0x0604);
        WriteIndexed(ports, 0x3CE, [0x00, 0x00, 0x00, 0x00, 0x02, 0x00, 0x04, 0x00, 0xFF]);
        for (int i = 0; i < font.Length; i++)
            windows.Write(0xA0000 + ((ulong)i / 16 * 32) + ((ulong)i % 16), 1, font[i]);
    }

    private static void WriteIndexed(IoBus ports, ulong port, ReadOnlySpan<byte> values)
    {
        for (int i = 0; i < values.Length; i++)
            ports.Write(port, 2, (ulong)(i | (values[i] << 8)));
    }

    // The 64 colours of an EGA: two bits for each of red, green and blue.
    private static void WritePalette(IoBus ports)
    {
        ports.Write(0x3C6, 1, 0xFF);
        ports.Write(0x3C8, 1, 0);
        for (int color = 0; color < 64; color++)
        {
            for (int bit = 2; bit >= 0; bit--)
                ports.Write(0x3C9, 1, (ulong)((((color >> bit) & 1) * 0x2A) + (((color >> (bit + 3)) & 1) * 0x15)));
        }
    }

    private static void WriteDataArea(GuestMemory memory)
    {
        Span<byte> area = stackalloc byte[0x1E];
        area.Clear();
        area[0x00] = 3;
        BinaryPrimitives.WriteUInt16LittleEndian(area[0x01..], 80);
        BinaryPrimitives.WriteUInt16LittleEndian(area[0x03..], 0x1000);
        // Lines of the cursor; the CRTC's port.
        BinaryPrimitives.WriteUInt16LittleEndian(area[0x17..], 0x0D0E);
        BinaryPrimitives.WriteUInt16LittleEndian(area[0x1A..], 0x3D4);
        _ = memory.TryWrite(DataArea + 0x49, area);
        _ = memory.TryWrite(DataArea + 0x84, [24, 16, 0, 0x60, 0x09]);
    }
}
