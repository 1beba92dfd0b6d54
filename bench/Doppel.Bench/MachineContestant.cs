namespace Doppel.Bench;

/// <summary>
/// A machine in a VMM that is started as a process and has its serial console on standard input and output.
/// A guest that hangs, crashes or resets is killed, its row is failed, and the rows after it run in a new machine.
/// </summary>
/// <param name="name">Name in the table.</param>
/// <param name="file">The VMM.</param>
/// <param name="arguments">Its arguments; the parameter is the kernel's command line.</param>
/// <param name="scale">Factor on the number of iterations.</param>
/// <param name="limits">How long a boot and a row may take.</param>
/// <param name="logs">Directory for what the machines print.</param>
/// <param name="system">The VMM's arguments for <see cref="Row.System"/>; null where that is not run.</param>
/// <param name="partner">Its arguments for the machine that <see cref="Row.Switch"/> talks to; null where they are not run.</param>
internal sealed class MachineContestant(
    string name, string file, Func<string, IEnumerable<string>> arguments, double scale, Limits limits, string logs, IReadOnlyList<string>? system = null, IReadOnlyList<string>? partner = null) : IContestant
{
    /// <inheritdoc/>
    public string Name => name;

    /// <inheritdoc/>
    public double Scale => scale;

    /// <summary>Instructions that the last guest executed, with its boot and its end; null if the VMM does not count them.</summary>
    public ulong? LastInstructions { get; private set; }

    /// <inheritdoc/>
    public async Task<IReadOnlyList<Sample>> RunAsync(IReadOnlyList<Row> rows, int round, CancellationToken cancel)
    {
        var samples = new List<Sample>();
        List<Row> programs = [.. rows.Where(row => row.IsProgram)];
        Directory.CreateDirectory(logs);
        using StreamWriter log = File.CreateText(Path.Combine(logs, $"{name}-{round}.log"));
        bool first = programs.Count > 0 || rows.Contains(Row.Boot);
        while (first || programs.Count > 0)
        {
            using var other = new MachineSession(log, limits);
            if (partner is not null)
            {
                // QEMU's second machine finds the first one's socket; a failure shows in the rows.
                _ = await other.BootAsync(file, partner, cancel);
            }

            using var session = new MachineSession(log, limits);
            Sample boot = await session.BootAsync(file, arguments(CommandLine(programs)), cancel);
            if (first)
            {
                samples.Add(boot);
            }

            if (boot.Failure is not null)
            {
                samples.AddRange(programs.Select(row => Sample.Failed(row, row.CountAt(scale), $"the guest did not boot: {boot.Failure}")));
                break;
            }

            first = false;
            while (programs.Count > 0)
            {
                Row row = programs[0];
                programs.RemoveAt(0);
                Sample sample = await session.RowAsync(row, row.CountAt(scale), cancel);
                samples.Add(sample);
                if (!session.Alive)
                {
                    break;
                }
            }

            await session.EndAsync(cancel);
            LastInstructions = session.Instructions;
        }

        if (system is not null && rows.Contains(Row.System))
        {
            using var session = new MachineSession(log, limits);
            samples.Add(await session.BootSystemAsync(file, system, cancel));
        }

        return [.. samples.Where(sample => rows.Any(row => row.Name == sample.Row))];
    }

    private string CommandLine(List<Row> programs) =>
        $"console=ttyS0 quiet panic=-1 bench={string.Join(',', programs.Select(row => $"{row.Name}:{row.CountAt(scale)}"))}";
}
