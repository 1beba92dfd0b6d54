namespace Doppel.Devices.Display.Rfb;

/// <summary>Finds out whether a part of a picture is an older one moved up or down, as a console that scrolls is.</summary>
internal static class ScrollFinder
{
    private const int LeastRows = 32;

    /// <summary>Compares two pictures of the same size.</summary>
    /// <param name="old">What the client has.</param>
    /// <param name="now">What it is to have.</param>
    /// <param name="part">Where they differ.</param>
    /// <param name="source">Row of the old picture from which the rows come.</param>
    /// <returns>The rows of <paramref name="part"/> that were elsewhere in it before; empty for none.</returns>
    internal static PixelRectangle Find(PixelSurface old, PixelSurface now, PixelRectangle part, out int source)
    {
        source = 0;
        if (part.Height < LeastRows)
            return default;
        ulong[] before = Hashes(old, part), after = Hashes(now, part);
        var places = new Dictionary<ulong, int>();
        // Rows that occur twice, such as empty ones, say nothing.
        for (int y = 0; y < before.Length; y++)
            places[before[y]] = places.ContainsKey(before[y]) ? -1 : y;
        var votes = new Dictionary<int, int>();
        for (int y = 0; y < after.Length; y++)
        {
            if (places.TryGetValue(after[y], out int from) && from >= 0 && from != y)
                votes[from - y] = votes.GetValueOrDefault(from - y) + 1;
        }

        if (votes.Count == 0)
            return default;
        int distance = votes.MaxBy(vote => vote.Value).Key;
        int best = 0, bestLength = 0;
        for (int y = Math.Max(0, -distance); y < Math.Min(part.Height, part.Height - distance);)
        {
            int end = y;
            while (end < Math.Min(part.Height, part.Height - distance) && after[end] == before[end + distance])
                end++;
            if (end - y > bestLength)
                (best, bestLength) = (y, end - y);
            y = end + 1;
        }

        if (bestLength < LeastRows)
            return default;
        for (int y = best; y < best + bestLength; y++)
        {
            // Hashes only say where to look.
            if (!now.Row(part.Y + y).Slice(part.X, part.Width).SequenceEqual(old.Row(part.Y + y + distance).Slice(part.X, part.Width)))
                return default;
        }

        source = part.Y + best + distance;
        return part with { Y = part.Y + best, Height = bestLength };
    }

    private static ulong[] Hashes(PixelSurface surface, PixelRectangle part)
    {
        ulong[] hashes = new ulong[part.Height];
        for (int y = 0; y < hashes.Length; y++)
        {
            ulong hash = 14695981039346656037;
            ReadOnlySpan<ulong> words = System.Runtime.InteropServices.MemoryMarshal.Cast<uint, ulong>(surface.Row(part.Y + y).Slice(part.X, part.Width));
            foreach (ulong word in words)
                hash = (hash ^ word) * 1099511628211 ^ (hash >> 29);
            hashes[y] = (part.Width & 1) == 0 ? hash : hash ^ surface.Row(part.Y + y)[part.Right - 1];
        }

        return hashes;
    }
}
