namespace Doppel.Devices.Display.Svga;

/// <content>The commands of the ring (VMware's developer kit, svga_reg.h).</content>
public sealed partial class VmwareSvga
{
    private const int Incomplete = -1;
    // Bytes of pictures that are moved at once; the rest follows a moment later, so that no guest holds up its machine.
    private const long MostWork = 64 << 20, LeastWork = 512;
    private const long Pause = 1_000_000;
    private const uint AnyFence = 1, Progress = 2, FenceReached = 4;
    private const int CursorHeader = 8, AlphaCursorHeader = 6;

    private enum Command : uint
    {
        Update = 1,
        Fill = 2,
        Copy = 3,
        FillByRop = 13,
        CopyByRop = 14,
        DefineCursor = 19,
        ShowCursor = 20,
        MoveCursor = 21,
        DefineAlphaCursor = 22,
        UpdateVerbose = 25,
        FrontFill = 29,
        Fence = 30,
        Escape = 33,
    }

    // Commands are seen when the word that says where they end is written; the pointer follows its registers.
    private void OnFifoWritten(int word)
    {
        switch (word)
        {
            case SvgaFifo.Next:
                Process();
                break;
            case SvgaFifo.CursorOn or SvgaFifo.CursorX or SvgaFifo.CursorY or SvgaFifo.CursorCount when _registers.IsConfigured:
                if (_fifo.Find(SvgaFifo.CursorCount) is null)
                    break;
                _cursor = _cursor with
                {
                    X = Place(_fifo.Find(SvgaFifo.CursorX) ?? 0),
                    Y = Place(_fifo.Find(SvgaFifo.CursorY) ?? 0),
                    IsVisible = _fifo.Find(SvgaFifo.CursorOn) != 0,
                };
                break;
            case SvgaFifo.Pitch when _registers.IsConfigured:
                if (_fifo.Find(SvgaFifo.Pitch) is uint pitch)
                    _registers.Write(SvgaRegisters.PitchLock, pitch);
                break;
        }
    }

    /// <summary>Does what waits in the ring, or as much of it as is allowed at once.</summary>
    private void Process()
    {
        _timer.Disarm();
        long work = 0;
        bool progressed = false;
        while (_registers.IsConfigured && (_registers.Enable & SvgaRegisters.Enabled) != 0 && _fifo.IsValid && _fifo.Waiting > 0)
        {
            if (work > MostWork)
            {
                _timer.Arm(_clock.Now + Pause);
                break;
            }

            int waiting = _fifo.Waiting;
            long length = FindLength(waiting);
            // One that the ring can't hold has no end: nothing behind it can be made out.
            if (length > _fifo.Capacity)
                length = waiting;
            else if (length == Incomplete || length > waiting)
                break;
            else
                work += LeastWork + Do();
            _fifo.Consume((int)length);
            progressed = true;
        }

        if (progressed)
            Raise(Progress);
        if (_timer.Deadline is null)
            _fifo.Set(SvgaFifo.BusyWord, 0);
    }

    /// <summary>Words of the first command that waits.</summary>
    /// <returns><see cref="Incomplete"/> while those that say so aren't there yet; 1 for a command that there isn't.</returns>
    private long FindLength(int waiting)
    {
        uint Word(int index) => _fifo.Peek(index);
        switch ((Command)Word(0))
        {
            case Command.Update:
                return 5;
            case Command.Fill or Command.UpdateVerbose:
                return 6;
            case Command.Copy or Command.FillByRop or Command.FrontFill:
                return 7;
            case Command.CopyByRop:
                return 8;
            case Command.ShowCursor or Command.MoveCursor:
                return 3;
            case Command.Fence:
                return 2;
            case Command.Escape:
                return waiting < 3 ? Incomplete : 3 + (((long)Word(2) + 3) / 4);
            case Command.DefineCursor:
                if (waiting < CursorHeader)
                    return Incomplete;
                return CursorHeader + MaskWords(Word(4), Word(5), Word(6)) + MaskWords(Word(4), Word(5), Word(7));
            case Command.DefineAlphaCursor:
                if (waiting < AlphaCursorHeader)
                    return Incomplete;
                return AlphaCursorHeader + MaskWords(Word(4), Word(5), 32);
            default:
                return 1;
        }
    }

    // Rows are padded to whole words. No side of a picture that the ring can hold is longer than this.
    private static long MaskWords(uint width, uint height, uint depth)
    {
        const uint Longest = 8 * SvgaFifo.Length;
        return width > Longest || height > Longest || depth > 32 ? SvgaFifo.Length : (((long)width * depth) + 31) / 32 * height;
    }

    /// <summary>Does the first command, which is whole.</summary>
    /// <returns>Bytes of the picture that it has moved.</returns>
    private long Do()
    {
        uint Word(int index) => _fifo.Peek(index);
        switch ((Command)Word(0))
        {
            case Command.Fill or Command.FillByRop or Command.FrontFill:
                return Fill(Word(1), Word(2), Word(3), Word(4), Word(5));
            case Command.Copy or Command.CopyByRop:
                return Copy(Word(1), Word(2), Word(3), Word(4), Word(5), Word(6));
            case Command.DefineCursor:
                DefineCursor();
                return 0;
            case Command.DefineAlphaCursor:
                DefineAlphaCursor();
                return 0;
            case Command.ShowCursor:
                _cursor = _cursor with { IsVisible = Word(2) != 0 };
                return 0;
            case Command.MoveCursor:
                _cursor = _cursor with { X = Place(Word(1)), Y = Place(Word(2)) };
                return 0;
            case Command.Fence:
                PassFence(Word(1));
                return 0;
            default:
                // Updates are seen by what is written.
                return 0;
        }
    }

    private long Fill(uint color, uint x, uint y, uint width, uint height)
    {
        SvgaMode mode = _registers.Mode;
        if (mode.Find(x, y, width, height, _memory.Length) is not PixelRectangle part)
            return 0;
        Span<byte> bytes = _memory.Bytes;
        (int first, int length) = mode.RowOf(part, 0);
        Span<byte> row = bytes.Slice(first, length);
        for (int i = 0; i < length; i++)
            row[i] = (byte)(color >> (8 * (i % mode.PixelBytes)));
        for (int i = 0; i < part.Height; i++)
        {
            (int offset, _) = mode.RowOf(part, i);
            row.CopyTo(bytes[offset..]);
            _memory.NoteWrite(offset, length);
        }

        return (long)length * part.Height;
    }

    private long Copy(uint fromX, uint fromY, uint toX, uint toY, uint width, uint height)
    {
        SvgaMode mode = _registers.Mode;
        if (mode.Find(fromX, fromY, width, height, _memory.Length) is not PixelRectangle from || mode.Find(toX, toY, width, height, _memory.Length) is not PixelRectangle to)
            return 0;
        Span<byte> bytes = _memory.Bytes;
        for (int i = 0; i < from.Height; i++)
        {
            // Rows that are read later must not be written before.
            int row = to.Y > from.Y ? from.Height - 1 - i : i;
            (int source, int length) = mode.RowOf(from, row);
            (int destination, _) = mode.RowOf(to, row);
            bytes.Slice(source, length).CopyTo(bytes[destination..]);
            _memory.NoteWrite(destination, length);
        }

        return (long)from.Width * mode.PixelBytes * from.Height;
    }

    private void PassFence(uint fence)
    {
        _fifo.Set(SvgaFifo.Fence, fence);
        Raise(AnyFence | (_fifo.Find(SvgaFifo.FenceGoal) == fence ? FenceReached : 0));
    }

    // Words: the command, a number, the hot spot, columns, rows, and how deep the masks are.
    private void DefineCursor()
    {
        if (FindCursor() is not (int width, int height, int hotX, int hotY))
            return;
        (uint keepDepth, uint colorDepth) = (_fifo.Peek(6), _fifo.Peek(7));
        if (!IsMaskDepth(keepDepth) || !IsMaskDepth(colorDepth))
            return;
        int start = CursorHeader;
        uint[] keeps = ReadMask(ref start, width, height, (int)keepDepth), colors = ReadMask(ref start, width, height, (int)colorDepth);
        _cursor = _cursor with { Image = new CursorImage(width, height, hotX, hotY, keeps, colors) };
    }

    private void DefineAlphaCursor()
    {
        if (FindCursor() is not (int width, int height, int hotX, int hotY))
            return;
        uint[] colors = new uint[width * height];
        for (int i = 0; i < colors.Length; i++)
            colors[i] = _fifo.Peek(AlphaCursorHeader + i);
        _cursor = _cursor with { Image = new CursorImage(width, height, hotX, hotY, colors) };
    }

    private (int Width, int Height, int HotX, int HotY)? FindCursor()
    {
        (uint hotX, uint hotY, uint width, uint height) = (_fifo.Peek(2), _fifo.Peek(3), _fifo.Peek(4), _fifo.Peek(5));
        return width is > 0 and <= CursorImage.MaximumSide && height is > 0 and <= CursorImage.MaximumSide && hotX <= width && hotY <= height
            ? ((int)width, (int)height, (int)hotX, (int)hotY)
            : null;
    }

    private static bool IsMaskDepth(uint depth) => depth is 1 or 8 or 15 or 16 or 24 or 32;

    private uint[] ReadMask(ref int start, int width, int height, int depth)
    {
        uint[] mask = new uint[width * height];
        Span<uint> colors = stackalloc uint[256];
        _registers.ReadColors(colors);
        int words = ((width * depth) + 31) / 32;
        byte[] row = new byte[4 * words];
        for (int y = 0; y < height; y++, start += words)
        {
            for (int i = 0; i < words; i++)
                System.Buffers.Binary.BinaryPrimitives.WriteUInt32LittleEndian(row.AsSpan(4 * i), _fifo.Peek(start + i));
            Span<uint> pixels = mask.AsSpan(y * width, width);
            if (depth != 1)
            {
                PixelRow.Convert(depth, row, colors, pixels);
                continue;
            }

            // The highest bit of a byte is the first pixel.
            for (int x = 0; x < width; x++)
                pixels[x] = (row[x >> 3] & (0x80 >> (x & 7))) != 0 ? 0xFFFFFFu : 0;
        }

        return mask;
    }
}
