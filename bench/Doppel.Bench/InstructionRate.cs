namespace Doppel.Bench;

/// <summary>How fast an engine executes the shell loop.</summary>
/// <param name="Engine">The engine.</param>
/// <param name="InstructionsEach">Guest instructions, the kernel's among them, for one turn of the loop.</param>
/// <param name="PerSecond">Guest instructions in a second of the loop.</param>
internal sealed record InstructionRate(string Engine, double InstructionsEach, double PerSecond)
{
    /// <summary>
    /// Runs the loop in two machines, one with twice the turns of the other: the difference of the instructions that they
    /// executed belongs to the loop alone, and so does the difference of the times. Null if one of them failed.
    /// </summary>
    public static async Task<InstructionRate?> MeasureAsync(
        string engine, Func<double, MachineContestant> make, double scale, CancellationToken cancel)
    {
        Row shell = Row.All.Single(row => row.Name == "shell");
        double half = Math.Min(scale, 0.5);
        (Sample Sample, ulong? Instructions) few = await RunAsync(make(half), shell, cancel);
        (Sample Sample, ulong? Instructions) many = await RunAsync(make(2 * half), shell, cancel);
        return Between(engine, few, many);
    }

    /// <summary>The rate from two runs; null if one failed or nothing was counted.</summary>
    public static InstructionRate? Between(
        string engine, (Sample Sample, ulong? Instructions) few, (Sample Sample, ulong? Instructions) many)
    {
        double instructions = (double?)many.Instructions - few.Instructions ?? 0;
        double time = many.Sample.GuestNanoseconds - few.Sample.GuestNanoseconds ?? 0;
        long turns = many.Sample.Count - few.Sample.Count;
        return instructions > 0 && time > 0 && turns > 0
            ? new InstructionRate(engine, instructions / turns, instructions / time * 1e9)
            : null;
    }

    private static async Task<(Sample Sample, ulong? Instructions)> RunAsync(MachineContestant contestant, Row shell, CancellationToken cancel)
    {
        IReadOnlyList<Sample> samples = await contestant.RunAsync([shell], 0, cancel);
        return (samples[0], contestant.LastInstructions);
    }
}
