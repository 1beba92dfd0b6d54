using System.CommandLine;
using Doppel.Api;
using Doppel.Vmm;
using Doppel.Vmm.Control;
using Doppel.Vmm.Snapshots;

namespace Doppel.Cli.Commands.Machines;

/// <summary>doppel clone: a second machine that goes on from where one is or was.</summary>
internal static class CloneCommand
{
    internal static Command Create()
    {
        var machine = new Argument<string>("machine") { Description = "The machine's name, or process number if it runs.", HelpName = "machine" };
        machine.CompletionSources.Add(_ => RunningMachines.Names());
        var name = new Argument<string>("name") { Description = "The new machine's name." };
        var snapshot = new Option<string?>("--snapshot") { Description = "The snapshot that it goes on from [default: the running machine as it is].", HelpName = "NAME" };
        var command = new ExampledCommand(
            "clone",
            "Make a second machine that goes on from a snapshot, or from where a machine is. It is suspended; \"doppel resume\" starts it.",
            "doppel clone debian other",
            "doppel clone debian other --snapshot clean",
            "doppel resume other")
        { machine, name, snapshot };
        command.SetAction(async (result, cancel) =>
        {
            string from = result.GetRequiredValue(machine), to = result.GetRequiredValue(name);
            using DaemonClient? daemon = Daemon.ConnectFor(result, from);
            if (daemon is not null)
            {
                using var line = new OperationLine();
                _ = await daemon.CloneAsync(from, new CloneRequest(to) { Snapshot = result.GetValue(snapshot) }, line.Show, cancel).ConfigureAwait(false);
                return ExitCode.Success;
            }

            StateDirectory state = StateDirectory.ForUser();
            var cloner = new SnapshotCloner(state);
            if (result.GetValue(snapshot) is string which)
            {
                cloner.Clone(state.SnapshotsOf(from).Find(which), to);
                return ExitCode.Success;
            }

            if (Directory.Exists(state.FolderOf(to)))
                throw new CliException(ExitCode.Usage, $"{to}: there already is a machine of that name in {state.FolderOf(to)}; another name would be right");
            string temporary = $"clone-{to}";
            (MachineStatistics statistics, ControlReply reply) = await RunningMachines.AskAsync(from, new ControlRequest(ControlRequest.Snapshot) { Name = temporary }, cancel).ConfigureAwait(false);
            try
            {
                cloner.Clone(reply.Snapshot!.Folder, to);
            }
            finally
            {
                // What the clone needs of it has further names by now.
                _ = await RunningMachines.AskAsync(statistics.Name, new ControlRequest(ControlRequest.RemoveSnapshot) { Name = temporary }, CancellationToken.None).ConfigureAwait(false);
            }

            return ExitCode.Success;
        });
        return command;
    }
}
