namespace Doppel.Cli;

/// <summary>Columns of text on standard output.</summary>
internal static class Table
{
    internal static void Write(string[] head, IEnumerable<string[]> rows)
    {
        List<string[]> all = [head, .. rows];
        int[] widths = [.. Enumerable.Range(0, head.Length).Select(c => all.Max(r => r[c].Length))];
        foreach (string[] row in all)
            Console.Out.Write(string.Join("  ", row.Select((cell, c) => c == row.Length - 1 ? cell : cell.PadRight(widths[c]))) + "\n");
    }
}
