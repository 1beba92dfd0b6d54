using Doppel.Devices.Display;

namespace Doppel.Devices.Tests.Display;

/// <summary>An adapter whose picture a test paints.</summary>
internal sealed class TestDisplay : IDisplayAdapter, IDisposable
{
    private readonly Lock _gate = new();
    private readonly IDisposable _attachment;
    private uint[] _pixels;
    private (int Width, int Height) _size;

    internal TestDisplay(int width, int height)
    {
        _size = (width, height);
        _pixels = new uint[width * height];
        _attachment = Display.Attach(this, _gate);
    }

    internal GuestDisplay Display { get; } = new();

    public void Dispose()
    {
        _attachment.Dispose();
        Display.Dispose();
    }

    public void Capture()
    {
    }

    public void Render(PixelSurface surface, DamageRegion damage, bool isNew)
    {
        lock (_gate)
        {
            if (surface.Resize(_size.Width, _size.Height))
            {
                damage.Reset(_size.Width, _size.Height);
                damage.AddAll();
            }

            for (int y = 0; y < _size.Height; y++)
                surface.Put(0, y, _pixels.AsSpan(y * _size.Width, _size.Width), damage);
        }
    }

    public TextScreen? ReadText() => null;

    /// <summary>Changes the picture.</summary>
    internal void Paint(Action<uint[], int> paint)
    {
        lock (_gate)
            paint(_pixels, _size.Width);
    }

    internal void Resize(int width, int height, uint color)
    {
        lock (_gate)
        {
            _size = (width, height);
            _pixels = new uint[width * height];
            Array.Fill(_pixels, color);
        }
    }

    internal uint[] Pixels
    {
        get
        {
            lock (_gate)
                return [.. _pixels];
        }
    }
}
