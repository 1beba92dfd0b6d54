namespace Doppel.Devices.Display;

/// <summary>A pointer and where on the screen it is.</summary>
/// <param name="Image">Its picture; null for none.</param>
/// <param name="X">Column to which it points.</param>
/// <param name="Y">Row.</param>
/// <param name="IsVisible">True while it is shown.</param>
internal readonly record struct CursorPlane(CursorImage? Image, int X, int Y, bool IsVisible)
{
    /// <summary>The part of the screen that it covers, perhaps beyond the screen's edges; empty for none.</summary>
    internal PixelRectangle Bounds => Image is null || !IsVisible ? default : new PixelRectangle(X - Image.HotX, Y - Image.HotY, Image.Width, Image.Height);

    /// <summary>Lays it over a row of the screen.</summary>
    /// <param name="x">Column of the first pixel.</param>
    /// <param name="y">The row.</param>
    /// <param name="pixels">Pixels of the screen.</param>
    internal void Blend(int x, int y, Span<uint> pixels)
    {
        PixelRectangle bounds = Bounds;
        if (y >= bounds.Y && y < bounds.Bottom && x < bounds.Right && x + pixels.Length > bounds.X)
            Image!.Blend(y - bounds.Y, x - bounds.X, pixels);
    }
}
