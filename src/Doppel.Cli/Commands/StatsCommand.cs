using System.CommandLine;
using System.Globalization;
using System.Text.Json;
using Doppel.Api;
using Doppel.Cli.Commands.Machines;
using Doppel.Host.Terminals;
using Doppel.Vmm;
using Doppel.Vmm.Control;

namespace Doppel.Cli.Commands;

/// <summary>doppel stats: what the running machines of this user have done.</summary>
internal static class StatsCommand
{
    private static readonly TimeSpan WatchInterval = TimeSpan.FromSeconds(1);

    internal static Command Create()
    {
        var machine = new Argument<string?>("machine") { Description = "Name or process number of a running machine [default: all].", HelpName = "machine", Arity = ArgumentArity.ZeroOrOne };
        machine.CompletionSources.Add(_ => RunningMachines.Names());
        var json = new Option<bool>("--json") { Description = "Print JSON: one machine's, or a list." };
        var watch = new Option<bool>("--watch") { Description = "Say it again every second, with the speed of that second." };
        var command = new Command("stats", "Show what running machines have done: instructions, translation, TLB, exits, interrupts.") { machine, json, watch };
        command.SetAction((result, cancel) => RunAsync(result, result.GetValue(machine), result.GetValue(json), result.GetValue(watch), cancel));
        return command;
    }

    private static async Task<int> RunAsync(ParseResult result, string? machine, bool json, bool watch, CancellationToken cancel)
    {
        Dictionary<int, MachineStatistics> before = [];
        using DaemonClient? daemon = HostOptions.IsGiven(result) ? Daemon.Connect(result) : null;
        while (true)
        {
            List<MachineStatistics> all = [.. (daemon is null ? (await RunningMachines.ListAsync(cancel).ConfigureAwait(false)).Select(found => found.Statistics) : await ListAsync(daemon, cancel).ConfigureAwait(false)).Where(s => machine is null || RunningMachines.Is(s, machine))];
            if (all.Count == 0 && (machine is not null || !json))
            {
                // A machine that was watched to its end is no error.
                return before.Count != 0 ? ExitCode.Success : throw new CliException(ExitCode.NoMachine, machine is null
                    ? "no machine of this user is running; \"doppel run\" starts one"
                    : $"{machine}: no machine of this user with that name or process number is running; \"doppel stats\" shows all");
            }

            if (machine is not null && all.Count > 1)
                throw new CliException(ExitCode.Usage, $"{machine}: {all.Count} machines have that name; one of the process numbers {string.Join(", ", all.Select(s => s.ProcessId))} would be right");
            if (json)
                Console.Out.Write((machine is null ? JsonSerializer.Serialize(all, ControlJson.Indented.IReadOnlyListMachineStatistics) : JsonSerializer.Serialize(all[0], ControlJson.Indented.MachineStatistics)) + "\n");
            else
                Show(all, before, watch);
            if (!watch)
                return ExitCode.Success;
            before = [];
            foreach (MachineStatistics statistics in all)
                before[statistics.ProcessId] = statistics;
            await Task.Delay(WatchInterval, cancel).ConfigureAwait(false);
        }
    }

    private static async Task<List<MachineStatistics>> ListAsync(DaemonClient daemon, CancellationToken cancel)
    {
        var all = new List<MachineStatistics>();
        foreach (MachineView machine in await daemon.ListAsync(cancel).ConfigureAwait(false))
        {
            if (machine.ProcessId is not null)
                all.Add(await daemon.GetStatisticsAsync(machine.Name, cancel).ConfigureAwait(false));
        }

        return all;
    }

    private static void Show(List<MachineStatistics> machines, Dictionary<int, MachineStatistics> before, bool watch)
    {
        if (watch && HostTerminal.IsTerminal(HostTerminal.StandardOutput))
            Console.Out.Write("\e[H\e[2J");
        foreach (MachineStatistics statistics in machines)
        {
            string now = before.TryGetValue(statistics.ProcessId, out MachineStatistics? old) ? Recent(old, statistics) : "";
            string reason = statistics.EngineReason is string why ? $"{why}\n" : "";
            Console.Out.Write(
                $"{statistics.Name}, process {statistics.ProcessId}, {statistics.Engine}, {MemorySize.Format(statistics.Memory)}, {statistics.State.ToString().ToLowerInvariant()}\n{reason}"
                + $"{StatisticsText.Summary(statistics)}{now}\n{StatisticsText.Table(statistics)}\n\n");
        }
    }

    private static string Recent(MachineStatistics old, MachineStatistics now) =>
        now.Seconds <= old.Seconds ? "" : string.Create(
            CultureInfo.InvariantCulture,
            $", {(now.Total.Instructions - (double)old.Total.Instructions) / (now.Seconds - old.Seconds) / 1e6:0.0} million now");
}
