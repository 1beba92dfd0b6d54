namespace Doppel.Conformance;

/// <summary>How a kernel ended.</summary>
internal enum Ending
{
    /// <summary>It reported its end with success.</summary>
    Passed,

    /// <summary>It reported its end with a failure.</summary>
    Failed,

    /// <summary>It reported that it had nothing to test here.</summary>
    Skipped,

    /// <summary>It gave up: an exception that it did not expect, or a condition that it needs.</summary>
    Aborted,

    /// <summary>It did not end in time.</summary>
    TimedOut,

    /// <summary>The VMM ended without the kernel's report.</summary>
    Broken,

    /// <summary>It was not started.</summary>
    NotRun,
}

/// <summary>What one kernel reported.</summary>
/// <param name="Entry">What was run.</param>
/// <param name="Ending">How it ended.</param>
/// <param name="Status">Exit status of the VMM, or null.</param>
/// <param name="Pass">Assertions that held.</param>
/// <param name="Fail">Assertions that did not.</param>
/// <param name="Skip">Assertions that could not be made.</param>
/// <param name="Expected">Assertions that failed as the test expects (XFAIL, KFAIL).</param>
/// <param name="Duration">How long it ran on the host's clock.</param>
/// <param name="Note">The reason, where the ending needs one.</param>
/// <param name="Failures">The lines that report failures.</param>
internal sealed record Outcome(
    Entry Entry, Ending Ending, int? Status, int Pass, int Fail, int Skip, int Expected, TimeSpan Duration, string Note, IReadOnlyList<string> Failures)
{
    /// <summary>An entry that was left out.</summary>
    public static Outcome Left(Entry entry, string why) => new(entry, Ending.NotRun, null, 0, 0, 0, 0, TimeSpan.Zero, why, []);
}
