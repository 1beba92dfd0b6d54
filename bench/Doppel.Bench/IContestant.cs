namespace Doppel.Bench;

/// <summary>Something that runs the programs: the host itself, or a machine in a VMM.</summary>
internal interface IContestant
{
    /// <summary>Name in the table and in the JSON.</summary>
    string Name { get; }

    /// <summary>Factor on the number of iterations.</summary>
    double Scale { get; }

    /// <summary>
    /// Runs the rows once, in order. Always returns one sample for each row that it can run: a failure is a sample too.
    /// </summary>
    Task<IReadOnlyList<Sample>> RunAsync(IReadOnlyList<Row> rows, int round, CancellationToken cancel);
}
