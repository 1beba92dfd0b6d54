namespace Doppel.Devices.Display.Vga;

/// <summary>Draws graphics modes: rows whose memory was written since the last picture, or all when registers have changed.</summary>
internal sealed class VgaGraphicsPicture
{
    private readonly uint[] _colors = new uint[256];
    private readonly uint[] _newColors = new uint[256];
    private readonly uint[] _row = new uint[PixelSurface.MaximumSide + 16];
    private readonly uint[] _wide = new uint[PixelSurface.MaximumSide];
    private Layout _layout;
    private bool _isForgotten = true;

    private enum Coding
    {
        Planar,
        Interleaved,
        Indexed,
        Rgb555,
        Rgb565,
        Rgb888,
        Xrgb8888,
    }

    /// <summary>Where the picture lies in memory, and how.</summary>
    private readonly record struct Layout(
        Coding Coding, int Start, int Pitch, int SplitLine, int LinesPerRow, int LineScale, int FirstScan, int Scale, int Shift, bool SplitIsUnshifted, int BankBit, int NextBankBit, int Planes);

    internal static (int Width, int Height) SizeOf(VgaRegisters r) => r.Vbe.IsEnabled
        ? (r.Vbe.PixelWidth, r.Vbe.PixelHeight)
        : (Math.Clamp(r.Columns * 8 * ((r.Sequencer[1] & 8) != 0 ? 2 : 1), 8, PixelSurface.MaximumSide), Math.Clamp(r.VerticalDisplayEnd, 1, PixelSurface.MaximumSide));

    internal void Forget() => _isForgotten = true;

    internal void Render(VgaRegisters r, ReadOnlySpan<byte> memory, ReadOnlySpan<ulong> writtenPages, PixelSurface surface, DamageRegion damage)
    {
        Layout layout = r.Vbe.IsEnabled ? LayoutOfVbe(r) : LayoutOfVga(r);
        bool isAll = _isForgotten || layout != _layout;
        _layout = layout;
        _isForgotten = false;
        bool isDirect = layout.Coding >= Coding.Rgb555;
        for (int i = 0; i < 256 && !isDirect; i++)
            _newColors[i] = layout.Coding == Coding.Indexed ? r.Color(i) : r.Color(r.AttributeColor(i & 15));
        if (!isDirect && !_newColors.AsSpan().SequenceEqual(_colors))
        {
            _newColors.CopyTo(_colors, 0);
            isAll = true;
        }

        int width = surface.Width;
        int bytes = BytesOf(layout.Coding, (width / layout.Scale) + 8);
        int lastAddress = -1;
        for (int y = 0; y < surface.Height; y++)
        {
            (int address, int shift) = AddressOf(layout, y, memory.Length);
            if (!isAll && !IsWritten(writtenPages, address, bytes, memory.Length))
                continue;
            // Rows that are shown twice are converted once.
            if (address != lastAddress)
                Convert(layout, memory, address, (width / layout.Scale) + 8);
            lastAddress = address;
            if (layout.Scale == 1)
            {
                surface.Put(0, y, _row.AsSpan(shift, width), damage);
                continue;
            }

            for (int x = 0; x < width; x++)
                _wide[x] = _row[shift + (x / layout.Scale)];
            surface.Put(0, y, _wide.AsSpan(0, width), damage);
        }
    }

    private static Layout LayoutOfVbe(VgaRegisters r)
    {
        BochsVbe vbe = r.Vbe;
        Coding coding = vbe.BitsPerPixel switch
        {
            4 => Coding.Planar,
            15 => Coding.Rgb555,
            16 => Coding.Rgb565,
            24 => Coding.Rgb888,
            32 => Coding.Xrgb8888,
            _ => Coding.Indexed,
        };
        return new Layout(coding, vbe.Start, vbe.BytesPerRow, int.MaxValue, 1, 1, 0, 1, 0, false, 0, 0, r.Attribute[0x12]);
    }

    private static Layout LayoutOfVga(VgaRegisters r)
    {
        Coding coding = ((r.Graphics[5] >> 5) & 3) switch
        {
            0 => Coding.Planar,
            1 => Coding.Interleaved,
            _ => Coding.Indexed,
        };
        // A pixel of 256 colours takes two clocks.
        int scale = ((r.Sequencer[1] & 8) != 0 ? 2 : 1) * (coding == Coding.Indexed ? 2 : 1);
        int lineScale = (r.Crtc[9] & 0x80) != 0 ? 2 : 1;
        int lines = ((r.Crtc[9] & 0x1F) + 1) * lineScale;
        int shift = r.Attribute[0x13] & 7;
        if (coding == Coding.Indexed)
            shift >>= 1;
        // Cleared, bit 0 of register 17h puts the row scan's bit 0 in the place of an address bit, as CGA's memory has it; bit 1 the next.
        int firstBank = (r.Crtc[0x17] & 0x40) != 0 ? 15 : 14;
        int bankBit = (r.Crtc[0x17] & 1) != 0 ? 0 : firstBank, nextBankBit = (r.Crtc[0x17] & 2) != 0 ? 0 : firstBank + 1;
        return new Layout(
            coding, 4 * (r.StartAddress + ((r.Crtc[8] >> 5) & 3)), 8 * r.Crtc[0x13], r.LineCompare + 1, lines, lineScale, (r.Crtc[8] & 0x1F) * lineScale, scale, shift,
            (r.Attribute[0x10] & 0x20) != 0, bankBit, nextBankBit, r.Attribute[0x12]);
    }

    private static (int Address, int Shift) AddressOf(Layout layout, int y, int length)
    {
        int shift = layout.Shift, start = layout.Start, scan = y + layout.FirstScan;
        if (y >= layout.SplitLine)
        {
            (start, scan) = (0, y - layout.SplitLine);
            if (layout.SplitIsUnshifted)
                shift = 0;
        }

        long address = start + ((long)(scan / layout.LinesPerRow) * layout.Pitch);
        int line = scan % layout.LinesPerRow / layout.LineScale;
        if (layout.BankBit != 0)
            address = (address & ~(1L << layout.BankBit)) | ((long)(line & 1) << layout.BankBit);
        if (layout.NextBankBit != 0)
            address = (address & ~(1L << layout.NextBankBit)) | ((long)((line >> 1) & 1) << layout.NextBankBit);
        return ((int)(address & (length - 1)), shift);
    }

    private static int BytesOf(Coding coding, int pixels) => coding switch
    {
        Coding.Planar => pixels / 2,
        Coding.Interleaved => pixels / 2,
        Coding.Indexed => pixels,
        Coding.Rgb888 => 3 * pixels,
        Coding.Xrgb8888 => 4 * pixels,
        _ => 2 * pixels,
    };

    private static bool IsWritten(ReadOnlySpan<ulong> pages, int address, int bytes, int length)
    {
        int last = Math.Min(address + bytes, length) - 1;
        for (int page = address >> 12; page <= last >> 12; page++)
        {
            if ((pages[page >> 6] & (1UL << (page & 63))) != 0)
                return true;
        }

        // A row may go on at the begin of memory.
        return address + bytes > length && (pages[0] & 1) != 0;
    }

    private void Convert(Layout layout, ReadOnlySpan<byte> memory, int address, int pixels)
    {
        pixels = Math.Min(pixels, _row.Length) & ~7;
        int needed = BytesOf(layout.Coding, pixels);
        ReadOnlySpan<byte> source;
        if (address + needed <= memory.Length)
        {
            source = memory.Slice(address, needed);
        }
        else
        {
            byte[] joined = new byte[needed];
            memory[address..].CopyTo(joined);
            memory[..(needed - (memory.Length - address))].CopyTo(joined.AsSpan(memory.Length - address));
            source = joined;
        }

        Span<uint> row = _row.AsSpan(0, pixels);
        switch (layout.Coding)
        {
            case Coding.Planar:
                ConvertPlanar(source, row);
                break;
            case Coding.Interleaved:
                ConvertInterleaved(source, row);
                break;
            case Coding.Indexed:
                PixelRow.Convert(8, source, _colors, row);
                break;
            case Coding.Rgb555:
                PixelRow.Convert(15, source, _colors, row);
                break;
            case Coding.Rgb565:
                PixelRow.Convert(16, source, _colors, row);
                break;
            case Coding.Rgb888:
                PixelRow.Convert(24, source, _colors, row);
                break;
            default:
                PixelRow.Convert(32, source, _colors, row);
                break;
        }
    }

    // Eight pixels of a group: bit 7 of the four planes is the first.
    private void ConvertPlanar(ReadOnlySpan<byte> source, Span<uint> row)
    {
        for (int i = 0; i < row.Length; i += 8)
        {
            ReadOnlySpan<byte> group = source.Slice(i / 2, 4);
            for (int bit = 0; bit < 8; bit++)
            {
                int shift = 7 - bit;
                int color = ((group[0] >> shift) & 1) | (((group[1] >> shift) & 1) << 1) | (((group[2] >> shift) & 1) << 2) | (((group[3] >> shift) & 1) << 3);
                row[i + bit] = _colors[color];
            }
        }
    }

    // As CGA has it: four pixels of two bits from planes 0 and 2, then four from planes 1 and 3.
    private void ConvertInterleaved(ReadOnlySpan<byte> source, Span<uint> row)
    {
        for (int i = 0; i < row.Length; i += 8)
        {
            ReadOnlySpan<byte> group = source.Slice(i / 2, 4);
            for (int pixel = 0; pixel < 8; pixel++)
            {
                int plane = pixel >> 2, shift = 6 - (2 * (pixel & 3));
                row[i + pixel] = _colors[((group[plane] >> shift) & 3) | (((group[plane + 2] >> shift) & 3) << 2)];
            }
        }
    }
}
