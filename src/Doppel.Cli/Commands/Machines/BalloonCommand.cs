using System.CommandLine;
using System.Globalization;
using System.Text.Json;
using Doppel.Api;
using Doppel.Vmm;
using Doppel.Vmm.Control;

namespace Doppel.Cli.Commands.Machines;

/// <summary>doppel balloon: takes memory from a guest and gives it back, and shows how its memory is used.</summary>
internal static class BalloonCommand
{
    internal static Command Create()
    {
        Argument<string> machine = LifeCommands.Machine();
        var size = new Argument<string?>("size") { Description = "Memory that the guest is to give to the host, for example 256M; 0 lets it have all again.", Arity = ArgumentArity.ZeroOrOne };
        var json = new Option<bool>("--json") { Description = "Print JSON." };
        var command = new ExampledCommand(
            "balloon", "Ask a guest for memory, and show how its memory is used.", "doppel balloon debian", "doppel balloon debian 256M", "doppel balloon debian 0") { machine, size, json };
        command.SetAction(async (result, cancel) =>
        {
            ulong? target = null;
            if (result.GetValue(size) is string text)
                target = text == "0" ? 0 : MemorySize.TryParse(text, out ulong bytes) ? bytes : throw new CliException(ExitCode.Usage, $"doppel balloon {text}: a size such as 256M, or 0, would be right");
            string name = result.GetRequiredValue(machine);
            BalloonReport? report;
            using DaemonClient? daemon = Daemon.ConnectFor(result, name);
            if (daemon is not null)
            {
                if (target is not null)
                    _ = await daemon.UpdateAsync(name, new UpdateRequest { Balloon = target }, cancel).ConfigureAwait(false);
                report = await daemon.GetBalloonAsync(name, cancel).ConfigureAwait(false);
            }
            else
            {
                (_, ControlReply reply) = await RunningMachines.AskAsync(name, new ControlRequest(ControlRequest.BalloonReport) { Balloon = target }, cancel).ConfigureAwait(false);
                report = reply.BalloonReport ?? throw new CliException(ExitCode.Host, "the machine's answer has no balloon");
            }

            Console.Out.Write(result.GetValue(json) ? JsonSerializer.Serialize(report, ControlJson.Indented.BalloonReport) + "\n" : Text(report));
            return ExitCode.Success;
        });
        return command;
    }

    private static string Text(BalloonReport report)
    {
        (string Name, ulong? Bytes)[] sizes =
        [
            ("asked for", report.Target), ("given", report.Given), ("gone back to the host", report.Freed),
            ("guest's memory", report.Guest?.Total), ("free", report.Guest?.Free), ("available", report.Guest?.Available), ("disk caches", report.Guest?.Caches),
            ("swapped in", report.Guest?.SwappedIn), ("swapped out", report.Guest?.SwappedOut),
        ];
        (string Name, ulong? Count)[] counts = [("page faults", report.Guest?.MinorFaults), ("page faults with a disk", report.Guest?.MajorFaults)];
        return string.Concat(sizes.Where(s => s.Bytes is not null).Select(s => $"{s.Name,-24}{string.Create(CultureInfo.InvariantCulture, $"{s.Bytes!.Value / 1048576.0:0.0} MiB"),14}\n"))
            + string.Concat(counts.Where(c => c.Count is not null).Select(c => $"{c.Name,-24}{c.Count!.Value.ToString(CultureInfo.InvariantCulture),14}\n"));
    }
}
