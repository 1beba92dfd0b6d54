using System.Globalization;
using System.Text;

namespace Doppel.Bench;

/// <summary>Prints the results as one table of medians and ratios.</summary>
internal static class ResultTable
{
    /// <summary>
    /// The table. After each contestant's median stand its ratios to the contestants of <paramref name="references"/>
    /// that come before it; below 1 is faster.
    /// </summary>
    public static string Format(Results results, IReadOnlyList<Row> rows, IReadOnlyList<string> contestants, IReadOnlyList<string> references)
    {
        var lines = new List<List<string>> { new() { "test", "unit" } };
        lines[0].AddRange(contestants.SelectMany((name, i) => (string[])[name, .. ReferencesOf(contestants, references, i).Select(r => "/" + r)]));
        foreach (Row row in rows)
        {
            var line = new List<string> { row.Title, row.Unit };
            for (int i = 0; i < contestants.Count; i++)
            {
                double? median = results.Median(contestants[i], row.Name);
                line.Add(median is { } time ? Figure(row.Shown(time))
                    : results.Problem(contestants[i], row.Name) is null ? "-" : "failed");
                foreach (string reference in ReferencesOf(contestants, references, i))
                {
                    line.Add(median / results.Median(reference, row.Name) is { } ratio ? Figure(ratio) : "-");
                }
            }

            lines.Add(line);
        }

        int[] widths = [.. lines[0].Select((_, column) => lines.Max(line => line[column].Length))];
        var text = new StringBuilder();
        foreach (List<string> line in lines)
        {
            text.Append("| ").AppendJoin(" | ", line.Select((cell, i) => i < 2 ? cell.PadRight(widths[i]) : cell.PadLeft(widths[i]))).Append(" |\n");
            if (line == lines[0])
            {
                text.Append("| ").AppendJoin(" | ", widths.Select((width, i) => i < 2 ? new string('-', width) : new string('-', width - 1) + ":")).Append(" |\n");
            }
        }

        foreach (string name in contestants)
        {
            foreach (Row row in rows)
            {
                if (results.Problem(name, row.Name) is { } problem)
                {
                    text.Append(CultureInfo.InvariantCulture, $"failed: {name}, {row.Name}: {problem}\n");
                }
            }
        }

        return text.ToString();
    }

    /// <summary>Three significant digits, with thousands separated.</summary>
    public static string Figure(double value)
    {
        string format = value switch
        {
            >= 100 => "#,0",
            >= 10 => "0.0",
            >= 1 => "0.00",
            _ => "0.000",
        };
        return value.ToString(format, CultureInfo.InvariantCulture);
    }

    private static IEnumerable<string> ReferencesOf(IReadOnlyList<string> contestants, IReadOnlyList<string> references, int index) =>
        contestants.Take(index).Where(references.Contains);
}
