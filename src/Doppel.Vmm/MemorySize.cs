using System.Globalization;

namespace Doppel.Vmm;

/// <summary>Sizes as people write them: "512M", "2G"; a plain number counts MiB.</summary>
public static class MemorySize
{
    /// <summary>Reads a size.</summary>
    /// <param name="text">A whole number with K, M, G or T (powers of 1024; "MiB" and the like also serve), or MiB without.</param>
    /// <param name="bytes">The size in bytes.</param>
    /// <returns>False when the text is no size or too large for 64 bits.</returns>
    public static bool TryParse(string text, out ulong bytes)
    {
        bytes = 0;
        ArgumentNullException.ThrowIfNull(text);
        int digits = text.TakeWhile(char.IsAsciiDigit).Count();
        if (digits == 0 || !ulong.TryParse(text.AsSpan(0, digits), NumberStyles.None, CultureInfo.InvariantCulture, out ulong number))
            return false;
        int? shift = text[digits..].ToUpperInvariant() switch
        {
            "K" or "KB" or "KIB" => 10,
            "" or "M" or "MB" or "MIB" => 20,
            "G" or "GB" or "GIB" => 30,
            "T" or "TB" or "TIB" => 40,
            _ => null,
        };
        if (shift is not int s || number > ulong.MaxValue >> s)
            return false;
        bytes = number << s;
        return true;
    }

    /// <summary>Writes a size in the largest unit that divides it.</summary>
    public static string Format(ulong bytes)
    {
        (int Shift, string Unit)[] units = [(40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")];
        foreach ((int shift, string unit) in units)
        {
            if (bytes != 0 && bytes % (1UL << shift) == 0)
                return $"{bytes >> shift} {unit}";
        }

        return $"{bytes} bytes";
    }
}
