namespace Doppel.Bench;

/// <summary>What one run of one row gave on one contestant.</summary>
/// <param name="Row">Name of the row.</param>
/// <param name="Count">Iterations that were run.</param>
/// <param name="GuestNanoseconds">Time of all iterations on the clock of the machine that ran them; null after a failure.</param>
/// <param name="HostNanoseconds">The same seen from the host, with start and end of the process in it; null where it was not seen.</param>
/// <param name="Check">What the program computed, which must be the same everywhere; null after a failure.</param>
/// <param name="Failure">Why there is no time; null after a success.</param>
internal sealed record Sample(
    string Row, long Count, long? GuestNanoseconds, long? HostNanoseconds, string? Check, string? Failure)
{
    /// <summary>Nanoseconds of one iteration, or null after a failure.</summary>
    public double? NanosecondsEach => GuestNanoseconds is { } time ? (double)time / Count : null;

    /// <summary>A run without a time.</summary>
    public static Sample Failed(Row row, long count, string why) => new(row.Name, count, null, null, null, why);
}
