using System.Diagnostics;
using Doppel.Devices.Console;
using Doppel.Machine.Cpu.Statistics;

namespace Doppel.Vmm.Comparison;

/// <summary>Runs the same work under several engines: the <see cref="Nanobenchmark"/>s, and a guest of the user's.</summary>
public static class EngineComparison
{
    // Enough to be translated and to estimate from; then so many that the clock's resolution doesn't matter.
    private const uint FirstCount = 5_000;
    private const uint MostOperations = 200_000_000;
    private static readonly TimeSpan OperationTime = TimeSpan.FromMilliseconds(100);
    private static readonly TimeSpan Patience = TimeSpan.FromMinutes(2);

    /// <summary>Runs one engine's part.</summary>
    /// <param name="engine">One of <see cref="EngineNames.All"/>.</param>
    /// <param name="guest">A machine that ends by itself, run too; null for none. Its engine doesn't count.</param>
    /// <param name="console">Where the first serial port of that machine goes; null for nowhere.</param>
    /// <exception cref="SpecException">The guest can't be.</exception>
    /// <exception cref="InvalidOperationException">The benchmark didn't end as it must.</exception>
    public static async Task<EngineResult> RunAsync(string engine, MachineSpec? guest, IConsoleBackend? console = null)
    {
        string path = Path.Combine(Path.GetTempPath(), $"doppel-nano-{Environment.ProcessId}.bin");
        try
        {
            var counts = Enum.GetValues<Nanobenchmark>().ToDictionary(benchmark => benchmark, _ => FirstCount);
            IReadOnlyList<OperationResult> operations;
            try
            {
                operations = await MeasureAsync(engine, path, counts).ConfigureAwait(false);
            }
            catch (SpecException e) when (engine == EngineNames.Kvm)
            {
                return new EngineResult(engine, TechniqueOf(engine), [], null, e.Message);
            }

            foreach (OperationResult operation in operations)
            {
                double cost = Math.Max(operation.Nanoseconds, 0.2) + operations[(int)Nanobenchmark.Loop].Nanoseconds;
                counts[operation.Operation] = (uint)Math.Clamp(OperationTime.TotalNanoseconds / cost, FirstCount, MostOperations);
            }

            operations = await MeasureAsync(engine, path, counts).ConfigureAwait(false);
            return new EngineResult(engine, TechniqueOf(engine), operations, guest is null ? null : await RunGuestAsync(guest with { Engine = engine }, console).ConfigureAwait(false), null);
        }
        finally
        {
            File.Delete(path);
        }
    }

    private static string TechniqueOf(string engine) => engine switch
    {
        EngineNames.Interpreter => "emulation",
        EngineNames.Translator => "binary translation",
        _ => "hardware-assisted",
    };

    private static async Task<IReadOnlyList<OperationResult>> MeasureAsync(string engine, string path, Dictionary<Nanobenchmark, uint> counts)
    {
        await File.WriteAllBytesAsync(path, NanobenchmarkKernel.Build(counts)).ConfigureAwait(false);
        var marks = new List<(byte Mark, long Time, EngineStatistics Statistics)>();
        VirtualMachine? machine = null;
        var connections = new MachineConnections
        {
            Serial1 = NullConsole.Instance,
            // Nobody else asks anything of this machine, so its lock is free.
            DebugPort = mark => marks.Add((mark, Stopwatch.GetTimestamp(), machine!.GetStatistics().Total)),
        };
        MachineSpec spec = EngineChoice.Make(new MachineSpec { Name = "nanobenchmark", Kernel = path, Memory = 16UL << 20, CpuModel = "x86-64-v2-compat", Engine = engine, TestDevices = true, RebootOnReset = false }, isNew: true).Spec;
        machine = VirtualMachine.Create(spec, connections);
        await using (machine.ConfigureAwait(false))
        {
            machine.Start();
            VmExit exit = await machine.WaitAsync().WaitAsync(Patience).ConfigureAwait(false);
            if (exit.Kind != VmExitKind.DebugExit || marks.Count != 2 * counts.Count)
                throw new InvalidOperationException($"the benchmark ended under {engine} with {exit.Kind} after {marks.Count} of {2 * counts.Count} marks: {exit.Message}");
        }

        var results = new List<OperationResult>();
        foreach (Nanobenchmark benchmark in Enum.GetValues<Nanobenchmark>())
        {
            (_, long begin, EngineStatistics before) = marks[2 * (int)benchmark];
            (_, long end, EngineStatistics after) = marks[(2 * (int)benchmark) + 1];
            uint count = counts[benchmark];
            double cost = Stopwatch.GetElapsedTime(begin, end).TotalNanoseconds / count;
            // The last write to the port is an exit of its own.
            double exits = Math.Max(0, (double)(CountExits(after) - CountExits(before)) - 1) / count;
            double loop = benchmark == Nanobenchmark.Loop ? 0 : results[0].Nanoseconds;
            results.Add(new OperationResult(benchmark, Math.Max(0, cost - loop), exits, after.InstructionsTranslated - before.InstructionsTranslated, count));
        }

        return results;
    }

    private static async Task<GuestResult> RunGuestAsync(MachineSpec spec, IConsoleBackend? console)
    {
        await using VirtualMachine machine = VirtualMachine.Create(spec, new MachineConnections { Serial1 = console ?? NullConsole.Instance });
        machine.Start();
        VmExit exit = await machine.WaitAsync().ConfigureAwait(false);
        MachineStatistics statistics = machine.GetStatistics();
        return new GuestResult(statistics.Seconds, CountExits(statistics.Total), statistics.Total.InstructionsTranslated, exit.Kind);
    }

    private static ulong CountExits(EngineStatistics statistics) => statistics.Exits.Aggregate(0UL, (sum, exit) => sum + exit.Count);
}
