namespace Doppel.Devices;

/// <summary>Checks for <see cref="Machine.State.IStateful.Restore"/>: each throws with the section and field named.</summary>
internal static class StateCheck
{
    /// <summary>The version must be one that the device knows, 1 to <paramref name="newest"/>.</summary>
    public static void Version(string section, int version, int newest)
    {
        if (version < 1 || version > newest)
            throw new InvalidDataException($"section {section} has version {version}; versions 1 to {newest} are known");
    }

    /// <summary>The value must lie between two bounds, both allowed.</summary>
    public static long Range(string section, string field, long value, long minimum, long maximum)
    {
        if (value < minimum || value > maximum)
            throw new InvalidDataException($"section {section}: {field} is {value}; it must be {minimum} to {maximum}");
        return value;
    }

    /// <summary>A block must have this length.</summary>
    public static byte[] Length(string section, string field, byte[] block, int length)
    {
        if (block.Length != length)
            throw new InvalidDataException($"section {section}: {field} has {block.Length} bytes; it must have {length}");
        return block;
    }
}
