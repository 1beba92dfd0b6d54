using System.Numerics;

namespace Doppel.Devices.Display;

/// <summary>
/// Which parts of a picture have changed, to the granularity of tiles: its size is bounded whatever a guest draws. Not
/// thread-safe.
/// </summary>
public sealed class DamageRegion
{
    /// <summary>Columns of a tile.</summary>
    public const int TileWidth = 32;

    /// <summary>Rows of a tile.</summary>
    public const int TileHeight = 8;

    private ulong[] _tiles = [];
    private int _wordsPerRow;
    private int _width;
    private int _height;

    /// <summary>True when nothing has changed.</summary>
    public bool IsEmpty { get; private set; } = true;

    /// <summary>Forgets everything and takes the size of a picture.</summary>
    public void Reset(int width, int height)
    {
        (_width, _height) = (width, height);
        _wordsPerRow = (((width + TileWidth - 1) / TileWidth) + 63) / 64;
        int words = _wordsPerRow * ((height + TileHeight - 1) / TileHeight);
        if (_tiles.Length != words)
            _tiles = new ulong[words];
        else
            Array.Clear(_tiles);
        IsEmpty = true;
    }

    /// <summary>Adds a part; what is outside the picture doesn't count.</summary>
    public void Add(PixelRectangle part)
    {
        part = part.Intersect(new PixelRectangle(0, 0, _width, _height));
        if (part.IsEmpty)
            return;
        IsEmpty = false;
        int firstTile = part.X / TileWidth, lastTile = (part.Right - 1) / TileWidth;
        for (int row = part.Y / TileHeight; row <= (part.Bottom - 1) / TileHeight; row++)
        {
            for (int tile = firstTile; tile <= lastTile; tile++)
                _tiles[(row * _wordsPerRow) + (tile >> 6)] |= 1UL << (tile & 63);
        }
    }

    /// <summary>Adds all of the picture.</summary>
    public void AddAll() => Add(new PixelRectangle(0, 0, _width, _height));

    /// <summary>Adds what another region of a picture of the same size has.</summary>
    public void Add(DamageRegion other)
    {
        ArgumentNullException.ThrowIfNull(other);
        if (other._width != _width || other._height != _height)
        {
            Reset(other._width, other._height);
            AddAll();
            return;
        }

        for (int i = 0; i < _tiles.Length; i++)
            _tiles[i] |= other._tiles[i];
        IsEmpty &= other.IsEmpty;
    }

    /// <summary>Takes out the rectangles that are inside a part, tiles in neighbouring rows joined where they span the same columns.</summary>
    /// <param name="within">The part that is of interest.</param>
    public List<PixelRectangle> Take(PixelRectangle within)
    {
        var found = new List<PixelRectangle>();
        // Rectangles that reach down to the row above, by first and last tile.
        var open = new Dictionary<(int First, int End), int>();
        var next = new Dictionary<(int First, int End), int>();
        int rows = (_height + TileHeight - 1) / TileHeight;
        var bounds = new PixelRectangle(0, 0, _width, _height);
        for (int row = 0; row < rows; row++)
        {
            next.Clear();
            foreach ((int first, int end) in Runs(row))
            {
                var part = new PixelRectangle(first * TileWidth, row * TileHeight, (end - first) * TileWidth, TileHeight);
                PixelRectangle whole = part.Intersect(bounds), inside = whole.Intersect(within);
                if (inside.IsEmpty)
                    continue;
                if (open.TryGetValue((first, end), out int index))
                    found[index] = found[index] with { Height = found[index].Height + TileHeight };
                else
                    found.Add(part);
                next[(first, end)] = open.TryGetValue((first, end), out index) ? index : found.Count - 1;
                // What reaches beyond the part of interest stays for the next time.
                if (inside == whole)
                    ClearRun(row, first, end);
            }

            (open, next) = (next, open);
        }

        IsEmpty = _tiles.AsSpan().IndexOfAnyExcept(0UL) < 0;
        for (int i = 0; i < found.Count; i++)
            found[i] = found[i].Intersect(bounds).Intersect(within);
        return found;
    }

    private void ClearRun(int row, int first, int end)
    {
        for (int tile = first; tile < end; tile++)
            _tiles[(row * _wordsPerRow) + (tile >> 6)] &= ~(1UL << (tile & 63));
    }

    private List<(int First, int End)> Runs(int row)
    {
        var runs = new List<(int, int)>();
        int limit = _wordsPerRow * 64;
        for (int at = NextTile(row, 0, limit, isSet: true); at < limit;)
        {
            int end = NextTile(row, at, limit, isSet: false);
            runs.Add((at, end));
            at = NextTile(row, end, limit, isSet: true);
        }

        return runs;
    }

    private int NextTile(int row, int from, int limit, bool isSet)
    {
        while (from < limit)
        {
            ulong word = _tiles[(row * _wordsPerRow) + (from >> 6)];
            word = (isSet ? word : ~word) >> (from & 63);
            if (word != 0)
                return Math.Min(from + BitOperations.TrailingZeroCount(word), limit);
            from = (from | 63) + 1;
        }

        return limit;
    }
}
