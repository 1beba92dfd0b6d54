using Doppel.Machine.Bus;

namespace Doppel.Devices;

/// <summary>Puts devices on buses.</summary>
public static class IoBusExtensions
{
    /// <summary>Maps all ranges of a list.</summary>
    /// <exception cref="InvalidOperationException">A range overlaps a region or leaves the space.</exception>
    public static void Map(this IoBus bus, IReadOnlyList<IoRange> ranges)
    {
        ArgumentNullException.ThrowIfNull(bus);
        ArgumentNullException.ThrowIfNull(ranges);
        foreach (IoRange range in ranges)
            bus.Map(range.Start, range.Length, range.Region);
    }
}
