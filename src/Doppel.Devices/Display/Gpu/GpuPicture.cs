namespace Doppel.Devices.Display.Gpu;

/// <summary>
/// What a virtio GPU shows on its screen: a part of a resource, with a pointer over it. Changed with the I/O lock held; drawn
/// without it from what <see cref="Capture"/> has noted. A resource that is filled while it is drawn may be drawn half new:
/// the flush that follows draws it again.
/// </summary>
internal sealed class GpuPicture
{
    private readonly DirtyRows _dirty = new();
    private readonly DirtyRows _capturedDirty = new();
    private readonly uint[] _row = new uint[PixelSurface.MaximumSide];
    private GpuResource? _captured;
    private PixelRectangle _capturedPart;
    private CursorPlane _capturedCursor;
    private GpuResource? _drawn;
    private PixelRectangle _drawnPart;
    private CursorPlane _drawnCursor;

    /// <summary>The resource that is shown; null for a dark screen.</summary>
    internal GpuResource? Resource { get; private set; }

    /// <summary>The part of it that is shown.</summary>
    internal PixelRectangle Part { get; private set; }

    /// <summary>The pointer.</summary>
    internal CursorPlane Cursor { get; set; }

    /// <summary>Shows a part of a resource.</summary>
    /// <param name="resource">The resource; null for a dark screen of the part's size.</param>
    /// <param name="part">Inside the resource, and at most <see cref="PixelSurface.MaximumSide"/> wide and high.</param>
    internal void Show(GpuResource? resource, PixelRectangle part)
    {
        Resource = resource;
        Part = resource is null ? new PixelRectangle(0, 0, part.Width, part.Height) : part;
        _dirty.Add(new PixelRectangle(0, 0, part.Width, part.Height));
    }

    /// <summary>Shows a part of a resource as it is now.</summary>
    internal void Flush(GpuResource resource, PixelRectangle part)
    {
        if (resource != Resource)
            return;
        part = part.Intersect(Part);
        _dirty.Add(part with { X = part.X - Part.X, Y = part.Y - Part.Y });
    }

    internal void Reset()
    {
        Resource = null;
        Part = default;
        Cursor = default;
        _dirty.Clear();
    }

    internal void Capture()
    {
        (_captured, _capturedPart, _capturedCursor) = (Resource, Part, Cursor);
        _capturedDirty.Take(_dirty);
    }

    internal void Render(PixelSurface surface, DamageRegion damage, bool isNew)
    {
        if (_capturedPart.IsEmpty)
            _capturedPart = new PixelRectangle(0, 0, 640, 480);
        (int width, int height) = (_capturedPart.Width, _capturedPart.Height);
        if (surface.Resize(width, height))
        {
            damage.Reset(width, height);
            damage.AddAll();
            isNew = true;
        }

        if (_captured is null)
        {
            surface.Fill(surface.Bounds, 0, damage);
        }
        else
        {
            if (isNew || _captured != _drawn || _capturedPart != _drawnPart)
            {
                _capturedDirty.Add(surface.Bounds);
            }
            else if (_capturedCursor != _drawnCursor)
            {
                _capturedDirty.Add(_drawnCursor.Bounds);
                _capturedDirty.Add(_capturedCursor.Bounds);
            }

            Draw(_captured, surface, damage);
        }

        _capturedDirty.Clear();
        (_drawn, _drawnPart, _drawnCursor) = (_captured, _capturedPart, _capturedCursor);
    }

    private void Draw(GpuResource resource, PixelSurface surface, DamageRegion damage)
    {
        for (int y = 0; y < surface.Height; y++)
        {
            (int first, int end) = _capturedDirty[y];
            end = Math.Min(end, surface.Width);
            if (first >= end)
                continue;
            Span<uint> row = _row.AsSpan(0, end - first);
            resource.Read(_capturedPart.X + first, _capturedPart.Y + y, row);
            foreach (ref uint pixel in row)
                pixel &= 0xFFFFFF;
            _capturedCursor.Blend(first, y, row);
            surface.Put(first, y, row, damage);
        }
    }
}
