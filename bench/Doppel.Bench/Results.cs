namespace Doppel.Bench;

/// <summary>All samples of a run, and what they come to.</summary>
internal sealed class Results
{
    private readonly List<(string Contestant, int Round, Sample Sample)> _samples = [];

    /// <summary>Every sample, in the order in which it was taken.</summary>
    public IReadOnlyList<(string Contestant, int Round, Sample Sample)> Samples => _samples;

    /// <summary>Adds what a contestant gave in a round.</summary>
    public void Add(string contestant, int round, IEnumerable<Sample> samples) =>
        _samples.AddRange(samples.Select(sample => (contestant, round, sample)));

    /// <summary>The samples of one cell of the table.</summary>
    public IReadOnlyList<Sample> Cell(string contestant, string row) =>
        [.. _samples.Where(s => s.Contestant == contestant && s.Sample.Row == row).Select(s => s.Sample)];

    /// <summary>Median nanoseconds of one iteration; null if a sample of the cell failed, computed something else than the others, or there is none.</summary>
    public double? Median(string contestant, string row)
    {
        IReadOnlyList<Sample> cell = Cell(contestant, row);
        return cell.Count == 0 || Problem(contestant, row) is not null
            ? null
            : Median([.. cell.Select(sample => sample.NanosecondsEach!.Value)]);
    }

    /// <summary>Why a cell has no median although it was run; null if it has one or was not run.</summary>
    public string? Problem(string contestant, string row)
    {
        IReadOnlyList<Sample> cell = Cell(contestant, row);
        string? failure = cell.Select(sample => sample.Failure).FirstOrDefault(why => why is not null);
        string? expected = _samples.Where(s => s.Sample.Row == row && s.Sample.Check is not null)
            .Select(s => s.Sample.Check).FirstOrDefault();
        string? other = cell.Select(sample => sample.Check).FirstOrDefault(check => check is not null && check != expected);
        return failure ?? (other is null ? null : $"computed {other}, where {expected} was expected");
    }

    /// <summary>The middle value, or the mean of the two in the middle. The list is not empty.</summary>
    public static double Median(IReadOnlyList<double> values)
    {
        double[] sorted = [.. values.Order()];
        int middle = sorted.Length / 2;
        return sorted.Length % 2 == 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
    }
}
