namespace Doppel.Devices.Display.Svga;

/// <summary>A mode of the SVGA II: how its frame buffer lies in memory, from the first byte on.</summary>
/// <param name="Width">Columns.</param>
/// <param name="Height">Rows.</param>
/// <param name="Bits">Bits of a pixel: 8, 15, 16, 24 or 32.</param>
/// <param name="Pitch">Bytes from a row to the next.</param>
internal readonly record struct SvgaMode(int Width, int Height, int Bits, int Pitch)
{
    internal int PixelBytes => PixelRow.BytesOf(Bits);

    /// <summary>Where a part begins, for rows that are copied or filled.</summary>
    /// <returns>Null when the mode, or the memory, has no such part.</returns>
    internal PixelRectangle? Find(uint x, uint y, uint width, uint height, int memory)
    {
        if (width == 0 || height == 0 || (ulong)x + width > (ulong)Width || (ulong)y + height > (ulong)Height)
            return null;
        long end = ((long)(y + height - 1) * Pitch) + ((x + width) * PixelBytes);
        return end <= memory ? new PixelRectangle((int)x, (int)y, (int)width, (int)height) : null;
    }

    /// <summary>The bytes of one row of a part.</summary>
    internal (int Offset, int Length) RowOf(PixelRectangle part, int row) =>
        (((part.Y + row) * Pitch) + (part.X * PixelBytes), part.Width * PixelBytes);
}
