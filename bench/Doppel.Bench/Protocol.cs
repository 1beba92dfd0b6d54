using System.Globalization;

namespace Doppel.Bench;

/// <summary>The lines that guest/init and the programs print, each of which starts with "@bench ".</summary>
internal static class Protocol
{
    private const string Mark = "@bench ";

    /// <summary>The words after the mark, or an empty array for any other line.</summary>
    public static string[] Words(string line)
    {
        int at = line.IndexOf(Mark, StringComparison.Ordinal);
        return at < 0 ? [] : line[(at + Mark.Length)..].Split(' ', StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries);
    }

    /// <summary>The number in Doppel's line "doppel: NUMBER guest instructions in ..."; null for any other line.</summary>
    public static ulong? Instructions(string line) =>
        line.Split(' ') is ["doppel:", var number, "guest", "instructions", ..]
        && ulong.TryParse(number, NumberStyles.None, CultureInfo.InvariantCulture, out ulong count) ? count : null;

    /// <summary>Reads the words of "result NAME COUNT NANOSECONDS CHECK"; null if they are not that, or not for this row.</summary>
    public static Sample? Result(string[] words, Row row, long count, long? hostNanoseconds)
    {
        return words.Length == 5 && words[0] == "result" && words[1] == row.Name
            && long.TryParse(words[2], NumberStyles.None, CultureInfo.InvariantCulture, out long ran) && ran == count
            && long.TryParse(words[3], NumberStyles.None, CultureInfo.InvariantCulture, out long time) && time > 0
            ? new Sample(row.Name, count, time, hostNanoseconds, words[4], null)
            : null;
    }
}
