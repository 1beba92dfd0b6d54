namespace Doppel.Devices.Display;

/// <summary>A part of a surface, in pixels.</summary>
/// <param name="X">First column.</param>
/// <param name="Y">First row.</param>
/// <param name="Width">Columns.</param>
/// <param name="Height">Rows.</param>
public readonly record struct PixelRectangle(int X, int Y, int Width, int Height)
{
    /// <summary>First column behind it.</summary>
    public int Right => X + Width;

    /// <summary>First row below it.</summary>
    public int Bottom => Y + Height;

    /// <summary>True when it has no pixel.</summary>
    public bool IsEmpty => Width <= 0 || Height <= 0;

    /// <summary>What it has in common with another; empty for nothing.</summary>
    public PixelRectangle Intersect(PixelRectangle other)
    {
        int x = Math.Max(X, other.X), y = Math.Max(Y, other.Y);
        return new PixelRectangle(x, y, Math.Max(Math.Min(Right, other.Right) - x, 0), Math.Max(Math.Min(Bottom, other.Bottom) - y, 0));
    }
}
