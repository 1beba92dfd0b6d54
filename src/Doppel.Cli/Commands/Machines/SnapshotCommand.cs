using System.CommandLine;
using System.Globalization;
using System.Text.Json;
using Doppel.Api;
using Doppel.Cli.Terminals;
using Doppel.Vmm;
using Doppel.Vmm.Control;
using Doppel.Vmm.Snapshots;

namespace Doppel.Cli.Commands.Machines;

/// <summary>doppel snapshot: the tree of a machine's snapshots.</summary>
internal static class SnapshotCommand
{
    internal static Command Create() => new("snapshot", "Keep a machine as it is at a moment, with its disks, and go back to it.")
    {
        CreateCreate(),
        CreateList(),
        CreateShow(),
        CreateRestore(),
        CreateCheck(),
        CreateRemove(),
    };

    private static Argument<string> Machine() => new("machine") { Description = "The machine's name." };

    private static Argument<string> Snapshot()
    {
        var snapshot = new Argument<string>("snapshot") { Description = "The snapshot's name.", HelpName = "snapshot" };
        snapshot.CompletionSources.Add(context => context.ParseResult.CommandResult.Tokens is [var machine, ..] && StateOf(machine.Value) is SnapshotStore store ? store.List().Snapshots.Select(m => m.Name) : []);
        return snapshot;
    }

    private static Option<bool> Json() => new("--json") { Description = "Print JSON." };

    private static ExampledCommand CreateCreate()
    {
        Argument<string> machine = LifeCommands.Machine();
        var name = new Argument<string?>("snapshot") { Description = "What to call it [default: s1, s2 and so on].", Arity = ArgumentArity.ZeroOrOne };
        var description = new Option<string?>("--description") { Description = "A note to be shown with it.", HelpName = "TEXT" };
        var full = new Option<bool>("--full") { Description = "Write all of memory, not only what differs from the machine's last snapshot." };
        Option<bool> json = Json();
        var command = new ExampledCommand(
            "create", "Make a snapshot of a running machine, which stands still only for a moment.", "doppel snapshot create debian", "doppel snapshot create debian clean --description \"before the update\"")
        { machine, name, description, full, json };
        command.SetAction(async (result, cancel) =>
        {
            string which = result.GetRequiredValue(machine);
            SnapshotReport made;
            using DaemonClient? daemon = Daemon.ConnectFor(result, which);
            if (daemon is not null)
            {
                using var line = new OperationLine();
                var asked = new SnapshotRequest { Name = result.GetValue(name), Description = result.GetValue(description), IsFull = result.GetValue(full) };
                made = await daemon.SnapshotAsync(which, asked, cancel, line.Show).ConfigureAwait(false);
            }
            else
            {
                var request = new ControlRequest(ControlRequest.Snapshot) { Name = result.GetValue(name), Description = result.GetValue(description), IsFull = result.GetValue(full) };
                (MachineStatistics statistics, ControlReply reply) = await RunningMachines.AskAsync(which, request, cancel).ConfigureAwait(false);
                made = reply.Snapshot!;
                which = statistics.Name;
            }

            if (result.GetValue(json))
                Console.Out.Write(JsonSerializer.Serialize(made, ControlJson.Indented.SnapshotReport) + "\n");
            else
                Talk.Line($"doppel: {which}: snapshot {made.Name}, {MemorySize.Format(made.Pages * 4096)} of memory{(made.Parent is null ? "" : $" that differ from {made.Parent}")}; the machine stood still for {LifeCommands.Milliseconds(made.StoppedSeconds)}");
            return ExitCode.Success;
        });
        return command;
    }

    private static ExampledCommand CreateList()
    {
        Argument<string> machine = Machine();
        Option<bool> json = Json();
        var command = new ExampledCommand("ls", "List a machine's snapshots as a tree.", "doppel snapshot ls debian") { machine, json };
        command.SetAction(async (result, cancel) =>
        {
            using DaemonClient? daemon = HostOptions.IsGiven(result) ? Daemon.Connect(result) : null;
            (IReadOnlyList<SnapshotManifest> all, IReadOnlyList<SnapshotException> damaged) = daemon is null
                ? StateOf(result.GetRequiredValue(machine)).List()
                : (await daemon.ListSnapshotsAsync(result.GetRequiredValue(machine), cancel).ConfigureAwait(false), []);
            if (result.GetValue(json))
                Console.Out.Write(JsonSerializer.Serialize(all, SnapshotJson.Default.IReadOnlyListSnapshotManifest) + "\n");
            else
                Table.Write(["SNAPSHOT", "CREATED", "MEMORY", "ENGINE", "DESCRIPTION"], Rows(all, null, 0));
            foreach (SnapshotException e in damaged)
                Talk.Error(e.Message);
            return damaged.Count == 0 ? ExitCode.Success : ExitCode.Input;
        });
        return command;
    }

    private static ExampledCommand CreateShow()
    {
        Argument<string> machine = Machine(), snapshot = Snapshot();
        var command = new ExampledCommand("show", "Print a snapshot's manifest, as JSON.", "doppel snapshot show debian clean") { machine, snapshot };
        command.SetAction(async (result, cancel) =>
        {
            using DaemonClient? daemon = HostOptions.IsGiven(result) ? Daemon.Connect(result) : null;
            SnapshotManifest manifest = daemon is not null ? await daemon.GetSnapshotAsync(result.GetRequiredValue(machine), result.GetRequiredValue(snapshot), cancel).ConfigureAwait(false) : SnapshotReader.ReadManifest(StateOf(result.GetRequiredValue(machine)).Find(result.GetRequiredValue(snapshot)));
            Console.Out.Write(JsonSerializer.Serialize(manifest, SnapshotJson.Default.SnapshotManifest) + "\n");
            return ExitCode.Success;
        });
        return command;
    }

    private static ExampledCommand CreateRestore()
    {
        Argument<string> machine = Machine(), snapshot = Snapshot();
        Option<string?> engine = ResumeCommand.Engine();
        Option<string[]> serial = SerialTarget.CreateOption();
        var command = new ExampledCommand(
            "restore",
            "Go back to a snapshot: a machine that runs does so where it is, and one that doesn't is started here. What it and its disks were in between is lost.",
            "doppel snapshot restore debian clean")
        { machine, snapshot, engine, serial };
        command.SetAction(async (result, cancel) =>
        {
            string name = result.GetRequiredValue(machine);
            using DaemonClient? daemon = Daemon.ConnectFor(result, name);
            if (daemon is not null)
            {
                using var line = new OperationLine();
                if (result.GetValue(engine) is string next)
                    _ = await daemon.UpdateAsync(name, new UpdateRequest { Engine = next }, cancel).ConfigureAwait(false);
                _ = await daemon.DoAsync(name, $"snapshots/{Uri.EscapeDataString(result.GetRequiredValue(snapshot))}/restore", cancel, line.Show).ConfigureAwait(false);
                return ExitCode.Success;
            }

            string folder = StateOf(name).Find(result.GetRequiredValue(snapshot));
            if (await RunningMachines.FindAsync(name, cancel).ConfigureAwait(false) is not (MachineStatistics statistics, string socket))
                return ResumeCommand.Run(folder, result.GetValue(engine), SerialTarget.Read(result.GetValue(serial)), () => { });
            if (result.GetValue(engine) is string other)
                _ = await RunningMachines.AskAsync(statistics.Name, socket, new ControlRequest(ControlRequest.Update) { Engine = other }, cancel).ConfigureAwait(false);
            _ = await RunningMachines.AskAsync(statistics.Name, socket, new ControlRequest(ControlRequest.Revert) { Name = result.GetRequiredValue(snapshot) }, cancel).ConfigureAwait(false);
            return ExitCode.Success;
        });
        return command;
    }

    private static ExampledCommand CreateCheck()
    {
        Argument<string> machine = Machine(), snapshot = Snapshot();
        var command = new ExampledCommand("check", "Compare all of a snapshot with its checksums, its memory too, which restoring reads only piece by piece.", "doppel snapshot check debian clean") { machine, snapshot };
        command.SetAction(async (result, cancel) =>
        {
            string name = result.GetRequiredValue(machine), which = result.GetRequiredValue(snapshot);
            using DaemonClient? daemon = Daemon.ConnectFor(result, name);
            if (daemon is not null)
            {
                using var line = new OperationLine();
                try
                {
                    _ = await daemon.DoAsync(name, $"snapshots/{Uri.EscapeDataString(which)}/check", cancel, line.Show).ConfigureAwait(false);
                }
                catch (ApiException e) when (e.Status == 409)
                {
                    throw new CliException(ExitCode.Input, e.Message, e);
                }

                return ExitCode.Success;
            }

            using SnapshotReader reader = SnapshotReader.Open(StateOf(name).Find(which));
            reader.VerifyMemory(cancel: cancel);
            return ExitCode.Success;
        });
        return command;
    }

    private static ExampledCommand CreateRemove()
    {
        Argument<string> machine = Machine(), snapshot = Snapshot();
        var recursive = new Option<bool>("--recursive") { Description = "Remove those that differ from it, too, and those that differ from these." };
        var command = new ExampledCommand("rm", "Remove a snapshot, also from the disks' images.", "doppel snapshot rm debian clean") { machine, snapshot, recursive };
        command.SetAction(async (result, cancel) =>
        {
            string name = result.GetRequiredValue(machine), which = result.GetRequiredValue(snapshot);
            using DaemonClient? daemon = Daemon.ConnectFor(result, name);
            if (daemon is not null)
            {
                Talk.Line($"doppel: {name}: removed {string.Join(", ", await daemon.RemoveSnapshotAsync(name, which, result.GetValue(recursive), cancel).ConfigureAwait(false))}");
                return ExitCode.Success;
            }

            SnapshotStore store = StateOf(name);
            _ = store.Find(which);
            IReadOnlyList<string> removed = await RunningMachines.FindAsync(name, cancel).ConfigureAwait(false) is (MachineStatistics statistics, string socket)
                ? (await RunningMachines.AskAsync(statistics.Name, socket, new ControlRequest(ControlRequest.RemoveSnapshot) { Name = which, IsRecursive = result.GetValue(recursive) }, cancel).ConfigureAwait(false)).Removed!
                : store.Remove(which, result.GetValue(recursive));
            Talk.Line($"doppel: {name}: removed {string.Join(", ", removed)}");
            return ExitCode.Success;
        });
        return command;
    }

    private static SnapshotStore StateOf(string machine) => StateDirectory.ForUser().SnapshotsOf(machine);

    private static IEnumerable<string[]> Rows(IReadOnlyList<SnapshotManifest> all, SnapshotManifest? parent, int depth)
    {
        // One whose parent is gone is shown all the same.
        foreach (SnapshotManifest manifest in all.Where(m => parent is null ? m.Parent is null || all.All(other => other.Id != m.ParentId) : m.ParentId == parent.Id))
        {
            yield return
            [
                new string(' ', 2 * depth) + manifest.Name,
                manifest.Created.ToLocalTime().ToString("yyyy-MM-dd HH:mm:ss", CultureInfo.InvariantCulture),
                MemorySize.Format(manifest.Pages * 4096),
                manifest.Machine.Engine,
                manifest.Description,
            ];
            foreach (string[] row in Rows(all, manifest, depth + 1))
                yield return row;
        }
    }
}
