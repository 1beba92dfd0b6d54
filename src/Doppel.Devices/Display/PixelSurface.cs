namespace Doppel.Devices.Display;

/// <summary>The picture of a screen: a word 00RRGGBBh for each pixel, row by row. Not thread-safe; <see cref="GuestDisplay"/> guards its own.</summary>
public sealed class PixelSurface
{
    /// <summary>Most columns or rows.</summary>
    public const int MaximumSide = 4096;

    private uint[] _pixels = [];

    /// <summary>Columns.</summary>
    public int Width { get; private set; }

    /// <summary>Rows.</summary>
    public int Height { get; private set; }

    /// <summary>All pixels.</summary>
    public Span<uint> Pixels => _pixels.AsSpan(0, Width * Height);

    /// <summary>The whole of it.</summary>
    public PixelRectangle Bounds => new(0, 0, Width, Height);

    /// <summary>Gives it another size, and makes it black; nothing happens when it has that size.</summary>
    /// <returns>True when it had another.</returns>
    public bool Resize(int width, int height)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThan((uint)width, (uint)MaximumSide, nameof(width));
        ArgumentOutOfRangeException.ThrowIfGreaterThan((uint)height, (uint)MaximumSide, nameof(height));
        if (width == Width && height == Height)
            return false;
        if (_pixels.Length < width * height)
            _pixels = new uint[width * height];
        (Width, Height) = (width, height);
        Pixels.Clear();
        return true;
    }

    /// <summary>One row.</summary>
    public Span<uint> Row(int y) => Pixels.Slice(y * Width, Width);

    /// <summary>Puts pixels into a row and tells a region which of them have changed.</summary>
    /// <param name="x">First column.</param>
    /// <param name="y">The row.</param>
    /// <param name="pixels">What it is to have there; within the row.</param>
    /// <param name="damage">Told of what has changed.</param>
    public void Put(int x, int y, ReadOnlySpan<uint> pixels, DamageRegion damage)
    {
        ArgumentNullException.ThrowIfNull(damage);
        Span<uint> old = Row(y).Slice(x, pixels.Length);
        int first = pixels.CommonPrefixLength(old);
        if (first == pixels.Length)
            return;
        int last = pixels.Length - 1;
        while (pixels[last] == old[last])
            last--;
        pixels[first..(last + 1)].CopyTo(old[first..]);
        damage.Add(new PixelRectangle(x + first, y, last - first + 1, 1));
    }

    /// <summary>Fills a part.</summary>
    public void Fill(PixelRectangle part, uint color, DamageRegion damage)
    {
        part = part.Intersect(Bounds);
        if (part.IsEmpty)
            return;
        uint[] row = new uint[part.Width];
        Array.Fill(row, color);
        for (int y = part.Y; y < part.Bottom; y++)
            Put(part.X, y, row, damage);
    }

    /// <summary>Takes over the size and the pixels of another.</summary>
    public void CopyFrom(PixelSurface other)
    {
        ArgumentNullException.ThrowIfNull(other);
        _ = Resize(other.Width, other.Height);
        other.Pixels.CopyTo(Pixels);
    }
}
