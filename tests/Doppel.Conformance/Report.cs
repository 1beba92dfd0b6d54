using System.Globalization;
using System.Text;
using System.Text.Json;

namespace Doppel.Conformance;

/// <summary>Prints outcomes as a table, and as JSON.</summary>
internal static class Report
{
    private static readonly JsonSerializerOptions Options = new() { WriteIndented = true, PropertyNamingPolicy = JsonNamingPolicy.CamelCase };

    /// <summary>A line for an entry, in the columns of <see cref="Head"/>.</summary>
    public static string Line(Outcome outcome) => string.Create(
        CultureInfo.InvariantCulture,
        $"{outcome.Entry.Name,-28} {outcome.Entry.File,-20} {outcome.Ending,-8} {outcome.Status?.ToString(CultureInfo.InvariantCulture) ?? "-",4} {outcome.Pass,6} {outcome.Fail,5} {outcome.Skip,5} {outcome.Expected,5} {outcome.Duration.TotalSeconds,7:0.0}  {outcome.Note}").TrimEnd();

    /// <summary>The head of the table.</summary>
    public static string Head { get; } =
        $"{"entry",-28} {"file",-20} {"ending",-8} {"exit",4} {"pass",6} {"fail",5} {"skip",5} {"xfail",5} {"seconds",7}";

    /// <summary>The sums, and every failed assertion under its entry.</summary>
    public static string Summary(IReadOnlyList<Outcome> outcomes)
    {
        var text = new StringBuilder();
        text.Append(CultureInfo.InvariantCulture, $"total: {outcomes.Sum(o => o.Pass)} pass, {outcomes.Sum(o => o.Fail)} fail, {outcomes.Sum(o => o.Skip)} skip, {outcomes.Sum(o => o.Expected)} expected failures; entries: ");
        text.AppendJoin(", ", outcomes.GroupBy(o => o.Ending).OrderBy(g => g.Key).Select(g => $"{g.Count()} {g.Key}")).Append('\n');
        foreach (Outcome outcome in outcomes.Where(o => o.Failures.Count > 0))
        {
            text.Append(CultureInfo.InvariantCulture, $"\n{outcome.Entry.Name}:\n");
            foreach (string failure in outcome.Failures)
            {
                text.Append("    ").Append(failure).Append('\n');
            }
        }

        return text.ToString();
    }

    /// <summary>Everything, as JSON.</summary>
    public static string Json(string vmm, IReadOnlyList<Outcome> outcomes) => JsonSerializer.Serialize(
        new
        {
            Vmm = vmm,
            Entries = outcomes.Select(o => new
            {
                o.Entry.Name,
                o.Entry.File,
                Ending = o.Ending.ToString(),
                o.Status,
                o.Pass,
                o.Fail,
                o.Skip,
                o.Expected,
                Seconds = Math.Round(o.Duration.TotalSeconds, 2),
                o.Note,
                o.Failures,
            }),
        },
        Options);
}
