using Doppel.Machine.Memory;

namespace Doppel.Devices.Display.Svga;

/// <summary>
/// What an SVGA II shows: its frame buffer with a pointer over it. Rows are drawn whose memory was written, whether or not the
/// driver has said so. <see cref="Capture"/> is called with the I/O lock held, the rest without.
/// </summary>
internal sealed class SvgaPicture(DeviceRam memory)
{
    private readonly WrittenPages _written = new(memory);
    private readonly uint[] _colors = new uint[256];
    private readonly uint[] _drawnColors = new uint[256];
    private readonly uint[] _row = new uint[PixelSurface.MaximumSide];
    private readonly DirtyRows _cursorRows = new();
    private SvgaMode _mode;
    private SvgaMode _drawnMode;
    private CursorPlane _cursor;
    private CursorPlane _drawnCursor;

    internal void Capture(SvgaRegisters registers, CursorPlane cursor)
    {
        _mode = registers.Mode;
        _cursor = cursor;
        registers.ReadColors(_colors);
        _written.Take();
    }

    internal void Render(PixelSurface surface, DamageRegion damage, bool isNew)
    {
        if (surface.Resize(_mode.Width, _mode.Height))
        {
            damage.Reset(_mode.Width, _mode.Height);
            damage.AddAll();
            isNew = true;
        }

        bool isAll = isNew || _mode != _drawnMode || (_mode.Bits == 8 && !_colors.AsSpan().SequenceEqual(_drawnColors));
        if (_cursor != _drawnCursor)
        {
            _cursorRows.Add(_drawnCursor.Bounds);
            _cursorRows.Add(_cursor.Bounds);
        }

        int length = _mode.Width * _mode.PixelBytes;
        Span<uint> row = _row.AsSpan(0, _mode.Width);
        for (int y = 0; y < _mode.Height; y++)
        {
            long offset = (long)y * _mode.Pitch;
            bool isThere = offset + length <= memory.Length;
            if (!isAll && _cursorRows[y].End == 0 && !(isThere && _written.Has((int)offset, length)))
                continue;
            if (isThere)
                PixelRow.Convert(_mode.Bits, memory.Bytes.Slice((int)offset, length), _colors, row);
            else
                row.Clear();
            _cursor.Blend(0, y, row);
            surface.Put(0, y, row, damage);
        }

        _cursorRows.Clear();
        _colors.CopyTo(_drawnColors, 0);
        (_drawnMode, _drawnCursor) = (_mode, _cursor);
    }
}
