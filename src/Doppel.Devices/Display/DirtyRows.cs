namespace Doppel.Devices.Display;

/// <summary>Which pixels of a picture are to be drawn anew: of each row those between two columns. Not thread-safe.</summary>
internal sealed class DirtyRows
{
    private readonly (int First, int End)[] _rows = new (int, int)[PixelSurface.MaximumSide];

    /// <summary>The columns of a row: from the first up to the end; empty when both are 0.</summary>
    internal (int First, int End) this[int row] => _rows[row];

    /// <summary>Adds a part; what is beyond <see cref="PixelSurface.MaximumSide"/> doesn't count.</summary>
    internal void Add(PixelRectangle part)
    {
        part = part.Intersect(new PixelRectangle(0, 0, PixelSurface.MaximumSide, PixelSurface.MaximumSide));
        if (part.IsEmpty)
            return;
        for (int row = part.Y; row < part.Bottom; row++)
        {
            (int first, int end) = _rows[row];
            _rows[row] = end == 0 ? (part.X, part.Right) : (Math.Min(first, part.X), Math.Max(end, part.Right));
        }
    }

    /// <summary>Forgets everything.</summary>
    internal void Clear() => Array.Clear(_rows);

    /// <summary>Adds everything that another has, which then has nothing.</summary>
    internal void Take(DirtyRows other)
    {
        for (int row = 0; row < _rows.Length; row++)
        {
            if (other._rows[row] is (int first, int end) && end != 0)
                Add(new PixelRectangle(first, row, end - first, 1));
        }

        other.Clear();
    }
}
