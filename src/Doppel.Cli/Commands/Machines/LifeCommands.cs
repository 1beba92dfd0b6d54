using System.CommandLine;
using System.Globalization;
using Doppel.Vmm;
using Doppel.Vmm.Control;

namespace Doppel.Cli.Commands.Machines;

/// <summary>doppel pause, suspend and update: what is asked of a running machine.</summary>
internal static class LifeCommands
{
    internal static Argument<string> Machine()
    {
        var machine = new Argument<string>("machine") { Description = "Name or process number of a running machine." };
        machine.CompletionSources.Add(_ => RunningMachines.Names());
        return machine;
    }

    internal static Command CreatePause()
    {
        Argument<string> machine = Machine();
        var command = new ExampledCommand("pause", "Stop a machine's vCPUs and its time; \"doppel resume\" lets it go on.", "doppel pause debian") { machine };
        command.SetAction(async (result, cancel) =>
        {
            _ = await RunningMachines.AskAsync(result.GetRequiredValue(machine), new ControlRequest(ControlRequest.Pause), cancel).ConfigureAwait(false);
            return ExitCode.Success;
        });
        return command;
    }

    internal static Command CreateSuspend()
    {
        Argument<string> machine = Machine();
        var description = new Option<string?>("--description") { Description = "A note to be shown later.", HelpName = "TEXT" };
        var command = new ExampledCommand("suspend", "Save a machine and end its process; \"doppel resume\" lets it go on later.", "doppel suspend debian", "doppel resume debian") { machine, description };
        command.SetAction(async (result, cancel) =>
        {
            (MachineStatistics statistics, ControlReply reply) = await RunningMachines.AskAsync(
                result.GetRequiredValue(machine), new ControlRequest(ControlRequest.Suspend) { Description = result.GetValue(description) }, cancel).ConfigureAwait(false);
            Talk.Line($"doppel: {statistics.Name} is suspended: {MemorySize.Format(reply.Snapshot!.Pages * 4096)} of memory in {reply.Snapshot.Folder}; \"doppel resume {statistics.Name}\" lets it go on");
            return ExitCode.Success;
        });
        return command;
    }

    internal static Command CreateUpdate()
    {
        Argument<string> machine = Machine();
        var engine = new Option<string?>("--engine") { Description = $"Go on under another engine: {string.Join(" or ", EngineNames.All)}.", HelpName = "NAME" };
        engine.CompletionSources.Add([.. EngineNames.All]);
        var balloon = new Option<string?>("--balloon") { Description = "Memory that the guest is to give back, for a machine with a balloon.", HelpName = "SIZE" };
        var command = new ExampledCommand("update", "Change a running machine.", "doppel update debian --engine interpreter", "doppel update debian --balloon 128M") { machine, engine, balloon };
        command.SetAction(async (result, cancel) =>
        {
            string? name = result.GetValue(engine), size = result.GetValue(balloon);
            if (name is null && size is null)
                throw new CliException(ExitCode.Usage, "doppel update: --engine NAME or --balloon SIZE would be right");
            ulong bytes = 0;
            if (size is not null && !MemorySize.TryParse(size, out bytes))
                throw new CliException(ExitCode.Usage, $"--balloon {size}: a size such as 128M, or 0, would be right");
            var request = new ControlRequest(ControlRequest.Update) { Engine = name, Balloon = size is null ? null : bytes };
            _ = await RunningMachines.AskAsync(result.GetRequiredValue(machine), request, cancel).ConfigureAwait(false);
            return ExitCode.Success;
        });
        return command;
    }

    /// <summary>Milliseconds for people.</summary>
    internal static string Milliseconds(double seconds) => string.Create(CultureInfo.InvariantCulture, $"{seconds * 1000:0.0} ms");
}
