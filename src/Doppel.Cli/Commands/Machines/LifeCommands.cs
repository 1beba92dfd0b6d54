using System.CommandLine;
using System.Globalization;
using Doppel.Api;
using Doppel.Vmm;
using Doppel.Vmm.Control;
using Doppel.Vmm.Limits;

namespace Doppel.Cli.Commands.Machines;

/// <summary>doppel pause, suspend and update: what is asked of a running machine.</summary>
internal static class LifeCommands
{
    internal static Argument<string> Machine()
    {
        var machine = new Argument<string>("machine") { Description = "Name or process number of a running machine.", HelpName = "machine" };
        machine.CompletionSources.Add(_ => RunningMachines.Names());
        return machine;
    }

    internal static Command CreatePause()
    {
        Argument<string> machine = Machine();
        var command = new ExampledCommand("pause", "Stop a machine's vCPUs and its time; \"doppel resume\" lets it go on.", "doppel pause debian") { machine };
        command.SetAction(async (result, cancel) =>
        {
            string name = result.GetRequiredValue(machine);
            using DaemonClient? daemon = Daemon.ConnectFor(result, name);
            if (daemon is not null)
                _ = await daemon.DoAsync(name, "pause", cancel).ConfigureAwait(false);
            else
                _ = await RunningMachines.AskAsync(name, new ControlRequest(ControlRequest.Pause), cancel).ConfigureAwait(false);
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
            string name = result.GetRequiredValue(machine);
            using DaemonClient? daemon = Daemon.ConnectFor(result, name);
            if (daemon is not null)
            {
                using var line = new OperationLine();
                _ = await daemon.SuspendAsync(name, new SuspendRequest { Description = result.GetValue(description) }, line.Show, cancel).ConfigureAwait(false);
                Talk.Line($"doppel: {name} is suspended; \"doppel resume {name}\" lets it go on");
                return ExitCode.Success;
            }

            (MachineStatistics statistics, ControlReply reply) = await RunningMachines.AskAsync(
                name, new ControlRequest(ControlRequest.Suspend) { Description = result.GetValue(description) }, cancel).ConfigureAwait(false);
            Talk.Line($"doppel: {statistics.Name} is suspended: {MemorySize.Format(reply.Snapshot!.Pages * 4096)} of memory in {reply.Snapshot.Folder}; \"doppel resume {statistics.Name}\" lets it go on");
            return ExitCode.Success;
        });
        return command;
    }

    internal static Command CreateUpdate()
    {
        Argument<string> machine = Machine();
        var engine = new Option<string?>("--engine") { Description = $"Go on under another engine: {string.Join(" or ", EngineNames.Choices)}.", HelpName = "NAME" };
        engine.CompletionSources.Add([.. EngineNames.Choices]);
        var balloon = new Option<string?>("--balloon") { Description = "Memory that the guest is to give back, for a machine with a balloon.", HelpName = "SIZE" };
        var weight = new Option<int?>("--cpu-weight") { Description = $"{CpuOptions.WeightDescription}.", HelpName = "N" };
        var cap = new Option<double?>("--cpu-cap") { Description = $"{CpuOptions.CapDescription}; 0 for all.", HelpName = "CPUS" };
        var disks = new Option<string[]>("--disk") { Description = "Limits of a disk by its number, from 0: bytes and operations a second; 0 for none.", HelpName = DeviceLimits.Choices };
        var networks = new Option<string[]>("--net") { Description = "Limit of a network card by its number, from 0: bytes a second either way; 0 for none.", HelpName = "NUMBER,bps=SIZE" };
        var command = new ExampledCommand("update", "Change a machine.", "doppel update debian --engine interpreter", "doppel update debian --balloon 128M", "doppel update web --cpu-weight 300 --cpu-cap 1.5", "doppel update web --disk 0,bps=50M,iops=500 --net 0,bps=0") { machine, engine, balloon, weight, cap, disks, networks };
        command.SetAction(async (result, cancel) =>
        {
            string? name = result.GetValue(engine), size = result.GetValue(balloon);
            int? part = result.GetValue(weight);
            double? processors = result.GetValue(cap);
            IReadOnlyList<DeviceLimits>? diskLimits = Limits("--disk", result.GetValue(disks)), networkLimits = Limits("--net", result.GetValue(networks));
            if ((name ?? size ?? part ?? processors ?? diskLimits ?? (object?)networkLimits) is null)
                throw new CliException(ExitCode.Usage, "doppel update: --engine NAME, --balloon SIZE, --cpu-weight N, --cpu-cap CPUS, --disk or --net would be right");
            if (processors is not (null or 0 or (>= CpuLimits.SmallestCap and <= CpuLimits.LargestCap)))
                throw new CliException(ExitCode.Usage, string.Create(CultureInfo.InvariantCulture, $"--cpu-cap {processors}: {CpuLimits.SmallestCap} to {CpuLimits.LargestCap} of the host's processors, or 0, would be right"));
            ulong bytes = 0;
            if (size is not null && !MemorySize.TryParse(size, out bytes))
                throw new CliException(ExitCode.Usage, $"--balloon {size}: a size such as 128M, or 0, would be right");
            string which = result.GetRequiredValue(machine);
            ulong? target = size is null ? null : bytes;
            using DaemonClient? daemon = Daemon.ConnectFor(result, which);
            if (daemon is not null)
                _ = await daemon.UpdateAsync(which, new UpdateRequest { Engine = name, Balloon = target, CpuWeight = part, CpuCap = processors, DiskLimits = diskLimits, NetworkLimits = networkLimits }, cancel).ConfigureAwait(false);
            else if (part is not null)
                throw new CliException(ExitCode.Usage, $"--cpu-weight {part}: weights are for machines in the background; \"doppel run --detach\" would be right");
            else
                TellSwitch(name, await RunningMachines.AskAsync(which, new ControlRequest(ControlRequest.Update) { Engine = name, Balloon = target, CpuCap = processors, DiskLimits = diskLimits, NetworkLimits = networkLimits }, cancel).ConfigureAwait(false));
            return ExitCode.Success;
        });
        return command;
    }

    private static DeviceLimits[]? Limits(string option, string[]? given) => given is null or [] ? null : [.. given.Select(text => DeviceLimits.TryParse(text, out DeviceLimits? limits)
        ? limits
        : throw new CliException(ExitCode.Usage, $"{option} {text}: {DeviceLimits.Choices}, with a size from {MemorySize.Format(DeviceLimits.SmallestBytes)} and a number from {DeviceLimits.SmallestOperations} on, or 0, would be right"))];

    private static void TellSwitch(string? engine, (MachineStatistics Before, ControlReply Reply) answer)
    {
        if (engine is not null && answer.Reply.Statistics is { SwitchSeconds: double seconds } now && now.State == VmState.Running)
            Talk.Line($"doppel: {now.Name} runs on {now.Engine}; its guest stood still for {Milliseconds(seconds)}");
    }

    /// <summary>Milliseconds for people.</summary>
    internal static string Milliseconds(double seconds) => string.Create(CultureInfo.InvariantCulture, $"{seconds * 1000:0.0} ms");
}
