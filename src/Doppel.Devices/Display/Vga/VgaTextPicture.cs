namespace Doppel.Devices.Display.Vga;

/// <summary>Draws text modes: only cells that have changed since the last picture. Characters lie in plane 0, attributes in plane 1, fonts in plane 2.</summary>
internal sealed class VgaTextPicture
{
    private const int FontBytes = 256 * 32;
    private const long BlinkTime = 266_000_000;
    private readonly byte[] _fonts = new byte[2 * FontBytes];
    private readonly byte[] _newFonts = new byte[2 * FontBytes];
    private readonly uint[] _colors = new uint[16];
    private readonly List<TextRow> _rows = [];
    private readonly List<TextRow> _oldRows = [];
    private uint[] _cells = [];
    private Layout _layout;
    private bool _isForgotten = true;

    /// <summary>Scan lines of one row of characters: where it lies on the screen and in memory.</summary>
    /// <param name="Top">First line on the screen.</param>
    /// <param name="Lines">How many.</param>
    /// <param name="FirstScan">Line of the characters that comes first.</param>
    /// <param name="Address">Group of the first character.</param>
    /// <param name="Shift">Pixels that the row is moved to the left.</param>
    private readonly record struct TextRow(int Top, int Lines, int FirstScan, int Address, int Shift);

    private readonly record struct Layout(int Columns, int CellWidth, int Scale, int LineScale, bool IsMonochrome, int Underline, bool JoinsLines);

    internal static (int Width, int Height) SizeOf(VgaRegisters r) =>
        (Math.Clamp(r.Columns * CellWidth(r) * Scale(r), 8, PixelSurface.MaximumSide), Math.Clamp(r.VerticalDisplayEnd, 1, PixelSurface.MaximumSide));

    internal void Forget() => _isForgotten = true;

    internal void Render(VgaRegisters r, ReadOnlySpan<byte> memory, long now, PixelSurface surface, DamageRegion damage)
    {
        int columns = surface.Width / (CellWidth(r) * Scale(r));
        var layout = new Layout(columns, CellWidth(r), Scale(r), LineScale(r), (r.Attribute[0x10] & 2) != 0, r.Crtc[0x14] & 0x1F, (r.Attribute[0x10] & 4) != 0);
        bool isAll = _isForgotten || layout != _layout;
        _layout = layout;
        _isForgotten = false;
        ReadFonts(r, memory);
        if (!_newFonts.AsSpan().SequenceEqual(_fonts))
        {
            _newFonts.CopyTo(_fonts, 0);
            isAll = true;
        }

        for (int i = 0; i < 16; i++)
        {
            uint color = r.Color(r.AttributeColor(i));
            isAll |= color != _colors[i];
            _colors[i] = color;
        }

        FindRows(r, surface.Height, _rows);
        isAll |= !_rows.SequenceEqual(_oldRows);
        _oldRows.Clear();
        _oldRows.AddRange(_rows);
        int perRow = columns + 1;
        if (_cells.Length != _rows.Count * perRow)
        {
            _cells = new uint[_rows.Count * perRow];
            isAll = true;
        }

        bool blinks = (r.Attribute[0x10] & 8) != 0;
        bool cursorOff = now / BlinkTime % 2 != 0;
        bool textOff = blinks && now / (2 * BlinkTime) % 2 != 0;
        int cursor = (r.Crtc[0x0A] & 0x20) != 0 || cursorOff ? -1 : (r.Crtc[0x0E] << 8) | r.Crtc[0x0F];
        for (int row = 0; row < _rows.Count; row++)
        {
            TextRow place = _rows[row];
            int count = place.Shift == 0 ? columns : perRow;
            for (int column = 0; column < count; column++)
            {
                int address = (place.Address + column) & 0xFFFF;
                uint cell = memory[4 * address] | ((uint)memory[(4 * address) + 1] << 8);
                if (address == cursor)
                    cell |= 0x10000u | ((uint)(r.Crtc[0x0A] & 0x1F) << 20) | ((uint)(r.Crtc[0x0B] & 0x1F) << 25);
                if (textOff && (cell & 0x8000) != 0)
                    cell |= 0x20000;
                if (blinks)
                    cell |= 0x40000;
                ref uint shown = ref _cells[(row * perRow) + column];
                if (!isAll && shown == cell)
                    continue;
                shown = cell;
                Draw(cell, place, column, surface, damage);
            }
        }
    }

    internal static TextScreen Read(VgaRegisters r, ReadOnlySpan<byte> memory)
    {
        int columns = r.Columns;
        int height = ((r.Crtc[9] & 0x1F) + 1) * LineScale(r);
        int rows = Math.Max(r.VerticalDisplayEnd / height, 1);
        int start = r.StartAddress, pitch = 2 * r.Crtc[0x13];
        int cursor = (r.Crtc[0x0A] & 0x20) != 0 ? -1 : ((r.Crtc[0x0E] << 8) | r.Crtc[0x0F]) - start;
        var cells = new TextCell[columns * rows];
        for (int row = 0; row < rows; row++)
        {
            for (int column = 0; column < columns; column++)
            {
                int address = 4 * ((start + (row * pitch) + column) & 0xFFFF);
                byte attribute = memory[address + 1];
                int background = attribute >> 4;
                if ((r.Attribute[0x10] & 8) != 0)
                    background &= 7;
                cells[(row * columns) + column] = new TextCell(CodePage437.ToCharacter(memory[address]), r.Color(r.AttributeColor(attribute & 15)), r.Color(r.AttributeColor(background)));
            }
        }

        bool isOnScreen = cursor >= 0 && pitch != 0 && cursor / pitch < rows && cursor % pitch < columns;
        return new TextScreen(columns, rows, cells, isOnScreen ? cursor % pitch : -1, isOnScreen ? cursor / pitch : -1);
    }

    private static int CellWidth(VgaRegisters r) => (r.Sequencer[1] & 1) != 0 ? 8 : 9;

    // Half the dot clock: each pixel is twice as wide.
    private static int Scale(VgaRegisters r) => (r.Sequencer[1] & 8) != 0 ? 2 : 1;

    private static int LineScale(VgaRegisters r) => (r.Crtc[9] & 0x80) != 0 ? 2 : 1;

    // As the CRTC counts: the row scan begins anew at the top of the screen and behind the line compare.
    private static void FindRows(VgaRegisters r, int height, List<TextRow> rows)
    {
        rows.Clear();
        int lineScale = LineScale(r), lines = (r.Crtc[9] & 0x1F) + 1, pitch = 2 * r.Crtc[0x13];
        int split = Math.Min(r.LineCompare + 1, height);
        int address = r.StartAddress + ((r.Crtc[8] >> 5) & 3);
        int scan = Math.Min(r.Crtc[8] & 0x1F, lines - 1);
        int shift = Panning(r);
        for (int y = 0; y < height;)
        {
            if (y == split)
            {
                (address, scan) = (0, 0);
                if ((r.Attribute[0x10] & 0x20) != 0)
                    shift = 0;
            }

            int end = y < split ? split : height;
            int count = Math.Min((lines - scan) * lineScale, end - y);
            rows.Add(new TextRow(y, count, scan, address & 0xFFFF, shift));
            y += count;
            scan = 0;
            address += pitch;
        }
    }

    // Attribute register 13h: 8 for none with characters of 9 pixels, else one more than the shift.
    private static int Panning(VgaRegisters r)
    {
        int value = r.Attribute[0x13] & 15;
        if (CellWidth(r) == 8)
            return value & 7;
        return value >= 8 ? 0 : value + 1;
    }

    private void ReadFonts(VgaRegisters r, ReadOnlySpan<byte> memory)
    {
        int map = r.Sequencer[3];
        int second = ((map >> 4) & 1) | ((map << 1) & 6), first = ((map >> 5) & 1) | ((map >> 1) & 6);
        ReadFont(memory, second, _newFonts.AsSpan(0, FontBytes));
        if (first == second)
            _newFonts.AsSpan(0, FontBytes).CopyTo(_newFonts.AsSpan(FontBytes));
        else
            ReadFont(memory, first, _newFonts.AsSpan(FontBytes));
    }

    // Banks 0 to 3 lie at multiples of 16 KiB, banks 4 to 7 between them.
    private static void ReadFont(ReadOnlySpan<byte> memory, int number, Span<byte> font)
    {
        int start = number * FontBytes;
        for (int i = 0; i < FontBytes; i++)
            font[i] = memory[(4 * (start + i)) + 2];
    }

    private void Draw(uint cell, TextRow place, int column, PixelSurface surface, DamageRegion damage)
    {
        byte code = (byte)cell, attribute = (byte)(cell >> 8);
        bool blinks = (cell & 0x40000) != 0;
        uint foreground = _colors[attribute & 15], background = _colors[(attribute >> 4) & (blinks ? 7 : 15)];
        if ((cell & 0x20000) != 0)
            foreground = background;
        ReadOnlySpan<byte> glyph = _fonts.AsSpan(((attribute & 8) != 0 ? FontBytes : 0) + (32 * code), 32);
        int width = _layout.CellWidth, scale = _layout.Scale;
        int left = ((column * width) - place.Shift) * scale;
        int from = Math.Max(left, 0), to = Math.Min(left + (width * scale), Math.Min(surface.Width, _layout.Columns * width * scale));
        if (from >= to)
            return;
        Span<uint> pixels = stackalloc uint[18];
        for (int y = 0; y < place.Lines; y++)
        {
            int scan = place.FirstScan + (y / _layout.LineScale);
            int bits = glyph[scan & 31] << 1;
            // The ninth pixel goes on with the eighth in the line drawing characters.
            if (_layout.JoinsLines && code is >= 0xC0 and <= 0xDF)
                bits |= (bits >> 1) & 1;
            if (_layout.IsMonochrome && (attribute & 7) == 1 && scan == _layout.Underline)
                bits = 0x1FF;
            if ((cell & 0x10000) != 0 && scan >= ((cell >> 20) & 0x1F) && scan <= ((cell >> 25) & 0x1F))
                bits = 0x1FF;
            for (int x = 0; x < width * scale; x++)
                pixels[x] = (bits & (0x100 >> (x / scale))) != 0 ? foreground : background;
            surface.Put(from, place.Top + y, pixels[(from - left)..(to - left)], damage);
        }
    }
}
