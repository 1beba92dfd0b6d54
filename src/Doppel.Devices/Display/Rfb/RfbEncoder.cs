namespace Doppel.Devices.Display.Rfb;

/// <summary>Encodes rectangles for one client; its streams go on from one to the next.</summary>
internal sealed class RfbEncoder : IDisposable
{
    private const int ZrleTile = 64, HextileTile = 16, MaximumTightWidth = 2048, MaximumTightArea = 1 << 18;
    private readonly RfbBuffer _plain = new();
    private readonly Dictionary<uint, int> _colors = [];
    private readonly List<uint> _palette = [];
    private uint[] _tile = [];
    private ZlibEncoder? _zlib;
    private ZlibEncoder? _zrle;
    private ZlibEncoder? _tight;

    /// <summary>The rectangles that an encoding makes of one: Tight's have a largest width.</summary>
    internal static IEnumerable<PixelRectangle> Split(PixelRectangle part, int encoding)
    {
        if (encoding != RfbEncoding.Tight)
        {
            yield return part;
            yield break;
        }

        for (int x = part.X; x < part.Right; x += MaximumTightWidth)
        {
            int width = Math.Min(MaximumTightWidth, part.Right - x);
            int most = Math.Max(MaximumTightArea / width, 1);
            for (int y = part.Y; y < part.Bottom; y += most)
                yield return new PixelRectangle(x, y, width, Math.Min(most, part.Bottom - y));
        }
    }

    /// <summary>Appends a rectangle with its header.</summary>
    internal void Encode(RfbBuffer output, PixelSurface surface, PixelRectangle part, RfbPixelFormat format, int encoding)
    {
        output.WriteRectangle(part, encoding);
        switch (encoding)
        {
            case RfbEncoding.Raw:
                AppendRows(output, surface, part, format);
                break;
            case RfbEncoding.Hextile:
                EncodeHextile(output, surface, part, format);
                break;
            case RfbEncoding.Zlib:
                _plain.Clear();
                AppendRows(_plain, surface, part, format);
                WritePacked(output, (_zlib ??= new ZlibEncoder()).Pack(_plain.Written.Span));
                break;
            case RfbEncoding.Zrle:
                _plain.Clear();
                EncodeZrle(surface, part, format);
                WritePacked(output, (_zrle ??= new ZlibEncoder()).Pack(_plain.Written.Span));
                break;
            default:
                EncodeTight(output, surface, part, format);
                break;
        }
    }

    public void Dispose()
    {
        _zlib?.Dispose();
        _zrle?.Dispose();
        _tight?.Dispose();
    }

    private static void AppendRows(RfbBuffer output, PixelSurface surface, PixelRectangle part, RfbPixelFormat format)
    {
        for (int y = part.Y; y < part.Bottom; y++)
            format.Append(output, surface.Row(y).Slice(part.X, part.Width));
    }

    private static void WritePacked(RfbBuffer output, ReadOnlySpan<byte> packed)
    {
        output.WriteInt32(packed.Length);
        output.Write(packed);
    }

    // Copies a part, and finds its colours unless there are more than so many.
    private ReadOnlySpan<uint> ReadTile(PixelSurface surface, PixelRectangle part, int mostColors)
    {
        int count = part.Width * part.Height;
        if (_tile.Length < count)
            _tile = new uint[count];
        _colors.Clear();
        _palette.Clear();
        bool isCounting = true;
        for (int y = 0; y < part.Height; y++)
        {
            ReadOnlySpan<uint> row = surface.Row(part.Y + y).Slice(part.X, part.Width);
            row.CopyTo(_tile.AsSpan(y * part.Width));
            uint last = 0;
            bool isFirst = true;
            for (int x = 0; isCounting && x < row.Length; x++)
            {
                if (!isFirst && row[x] == last)
                    continue;
                (last, isFirst) = (row[x], false);
                if (!_colors.TryAdd(last, _palette.Count))
                    continue;
                _palette.Add(last);
                isCounting = _palette.Count <= mostColors;
            }
        }

        return _tile.AsSpan(0, count);
    }

    private static IEnumerable<PixelRectangle> Tiles(PixelRectangle part, int size)
    {
        for (int y = part.Y; y < part.Bottom; y += size)
        {
            for (int x = part.X; x < part.Right; x += size)
                yield return new PixelRectangle(x, y, Math.Min(size, part.Right - x), Math.Min(size, part.Bottom - y));
        }
    }

    // Sub-encodings of a tile: 1 one colour, 2 to 16 a palette with packed indices, 128 runs, 0 plain (RFC 6143, 7.7.6).
    private void EncodeZrle(PixelSurface surface, PixelRectangle part, RfbPixelFormat format)
    {
        foreach (PixelRectangle tile in Tiles(part, ZrleTile))
        {
            ReadOnlySpan<uint> pixels = ReadTile(surface, tile, 16);
            if (_palette.Count == 1)
            {
                _plain.WriteByte(1);
                format.AppendCompact(_plain, pixels[..1]);
            }
            else if (_palette.Count <= 16)
            {
                _plain.WriteByte((byte)_palette.Count);
                format.AppendCompact(_plain, System.Runtime.InteropServices.CollectionsMarshal.AsSpan(_palette));
                AppendIndices(_plain, pixels, tile.Width, _palette.Count == 2 ? 1 : _palette.Count <= 4 ? 2 : 4);
            }
            else if (CountRuns(pixels) < pixels.Length / 2)
            {
                _plain.WriteByte(128);
                AppendRuns(pixels, format);
            }
            else
            {
                _plain.WriteByte(0);
                format.AppendCompact(_plain, pixels);
            }
        }
    }

    private void AppendIndices(RfbBuffer output, ReadOnlySpan<uint> pixels, int width, int bits)
    {
        for (int row = 0; row < pixels.Length; row += width)
        {
            int value = 0, filled = 0;
            for (int x = 0; x < width; x++)
            {
                value = (value << bits) | _colors[pixels[row + x]];
                filled += bits;
                if (filled == 8)
                {
                    output.WriteByte((byte)value);
                    (value, filled) = (0, 0);
                }
            }

            if (filled != 0)
                output.WriteByte((byte)(value << (8 - filled)));
        }
    }

    private static int CountRuns(ReadOnlySpan<uint> pixels)
    {
        int runs = 1;
        for (int i = 1; i < pixels.Length; i++)
            runs += pixels[i] != pixels[i - 1] ? 1 : 0;
        return runs;
    }

    private void AppendRuns(ReadOnlySpan<uint> pixels, RfbPixelFormat format)
    {
        while (!pixels.IsEmpty)
        {
            int length = pixels.IndexOfAnyExcept(pixels[0]);
            if (length < 0)
                length = pixels.Length;
            format.AppendCompact(_plain, pixels[..1]);
            int rest = length - 1;
            for (; rest >= 255; rest -= 255)
                _plain.WriteByte(255);
            _plain.WriteByte((byte)rest);
            pixels = pixels[length..];
        }
    }

    // A tile of one colour is its background alone; all others are sent as they are (RFC 6143, 7.7.4).
    private void EncodeHextile(RfbBuffer output, PixelSurface surface, PixelRectangle part, RfbPixelFormat format)
    {
        const byte IsRaw = 1, HasBackground = 2, HasForeground = 4, HasSubrectangles = 8;
        foreach (PixelRectangle tile in Tiles(part, HextileTile))
        {
            ReadOnlySpan<uint> pixels = ReadTile(surface, tile, 2);
            if (_palette.Count == 1)
            {
                output.WriteByte(HasBackground);
                format.Append(output, pixels[..1]);
                continue;
            }

            int runs = _palette.Count == 2 ? CountForegroundRuns(pixels, tile.Width) : int.MaxValue;
            if (runs > 255 || (2 * runs) + (2 * format.Bytes) >= pixels.Length * format.Bytes)
            {
                output.WriteByte(IsRaw);
                format.Append(output, pixels);
                continue;
            }

            output.WriteByte((byte)(HasBackground | HasForeground | HasSubrectangles));
            format.Append(output, [_palette[0], _palette[1]]);
            output.WriteByte((byte)runs);
            for (int y = 0; y < tile.Height; y++)
            {
                for (int x = 0; x < tile.Width;)
                {
                    int end = x;
                    while (end < tile.Width && pixels[(y * tile.Width) + end] == _palette[1])
                        end++;
                    if (end > x)
                    {
                        output.WriteByte((byte)((x << 4) | y));
                        output.WriteByte((byte)((end - x - 1) << 4));
                    }

                    x = end + 1;
                }
            }
        }
    }

    private int CountForegroundRuns(ReadOnlySpan<uint> pixels, int width)
    {
        int runs = 0;
        for (int i = 0; i < pixels.Length; i++)
        {
            if (pixels[i] == _palette[1] && (i % width == 0 || pixels[i - 1] != _palette[1]))
                runs++;
        }

        return runs;
    }

    // Fill, a palette with indices, or pixels as they are, compressed by stream 0 (rfbproto, "Tight Encoding").
    private void EncodeTight(RfbBuffer output, PixelSurface surface, PixelRectangle part, RfbPixelFormat format)
    {
        const byte Fill = 0x80, HasFilter = 0x40, PaletteFilter = 1;
        ReadOnlySpan<uint> pixels = ReadTile(surface, part, 256);
        if (_palette.Count == 1)
        {
            output.WriteByte(Fill);
            format.AppendTight(output, pixels[..1]);
            return;
        }

        _plain.Clear();
        if (_palette.Count <= 256)
        {
            output.WriteByte(HasFilter);
            output.WriteByte(PaletteFilter);
            output.WriteByte((byte)(_palette.Count - 1));
            format.AppendTight(output, System.Runtime.InteropServices.CollectionsMarshal.AsSpan(_palette));
            if (_palette.Count == 2)
            {
                AppendIndices(_plain, pixels, part.Width, 1);
            }
            else
            {
                Span<byte> indices = _plain.Take(pixels.Length);
                for (int i = 0; i < pixels.Length; i++)
                    indices[i] = (byte)_colors[pixels[i]];
            }
        }
        else
        {
            output.WriteByte(0);
            format.AppendTight(_plain, pixels);
        }

        // Less than 12 bytes aren't compressed, and have no length.
        const int Least = 12;
        if (_plain.Length < Least)
        {
            output.Write(_plain.Written.Span);
            return;
        }

        ReadOnlySpan<byte> packed = (_tight ??= new ZlibEncoder()).Pack(_plain.Written.Span);
        int length = packed.Length;
        output.WriteByte((byte)((length & 0x7F) | (length > 0x7F ? 0x80 : 0)));
        if (length > 0x7F)
            output.WriteByte((byte)(((length >> 7) & 0x7F) | (length > 0x3FFF ? 0x80 : 0)));
        if (length > 0x3FFF)
            output.WriteByte((byte)(length >> 14));
        output.Write(packed);
    }
}
