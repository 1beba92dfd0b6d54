using System.Text.Json;

namespace Doppel.Bench;

/// <summary>Writes the results as JSON: the medians that the table shows, and every sample.</summary>
internal static class JsonReport
{
    private static readonly JsonSerializerOptions Options = new() { WriteIndented = true, PropertyNamingPolicy = JsonNamingPolicy.CamelCase };

    /// <summary>The document, as text.</summary>
    public static string Format(Results results, IReadOnlyList<Row> rows, IReadOnlyList<IContestant> contestants, IReadOnlyList<InstructionRate> rates, string kernel)
    {
        var document = new
        {
            Kernel = Path.GetFileName(kernel),
            Date = DateTimeOffset.UtcNow,
            Contestants = contestants.Select(c => new { c.Name, c.Scale }),
            Rows = rows.Select(row => new
            {
                row.Name,
                row.Title,
                row.Unit,
                row.Count,
                Medians = contestants.ToDictionary(
                    c => c.Name, c => results.Median(c.Name, row.Name) is { } time ? row.Shown(time) : (double?)null),
                Failures = contestants.Where(c => results.Problem(c.Name, row.Name) is not null)
                    .ToDictionary(c => c.Name, c => results.Problem(c.Name, row.Name)),
            }),
            InstructionRates = rates,
            Samples = results.Samples.Select(s => new { s.Contestant, s.Round, s.Sample }),
        };
        return JsonSerializer.Serialize(document, Options);
    }
}
