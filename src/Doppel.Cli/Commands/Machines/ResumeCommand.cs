using System.CommandLine;
using Doppel.Api;
using Doppel.Cli.Terminals;
using Doppel.Vmm;
using Doppel.Vmm.Control;
using Doppel.Vmm.Snapshots;
using Doppel.Vmm.Trace;

namespace Doppel.Cli.Commands.Machines;

/// <summary>doppel resume: lets a paused machine go on, or one that was suspended.</summary>
internal static class ResumeCommand
{
    internal static Command Create()
    {
        var machine = new Argument<string>("machine") { Description = "Name of a suspended machine, or name or process number of a paused one.", HelpName = "machine" };
        machine.CompletionSources.Add(_ => RunningMachines.Names());
        Option<string?> engine = Engine();
        Option<string[]> serial = SerialTarget.CreateOption();
        var command = new ExampledCommand(
            "resume",
            "Let a machine go on that was paused or suspended. The terminal becomes the console of one that was suspended.",
            "doppel resume debian",
            "doppel resume debian --engine interpreter")
        { machine, engine, serial };
        command.SetAction(async (result, cancel) =>
        {
            string name = result.GetRequiredValue(machine);
            using DaemonClient? daemon = Daemon.ConnectFor(result, name);
            if (daemon is not null)
            {
                using var line = new OperationLine();
                if (result.GetValue(engine) is string other)
                    _ = await daemon.UpdateAsync(name, new UpdateRequest { Engine = other }, cancel).ConfigureAwait(false);
                _ = await daemon.DoAsync(name, "resume", cancel, line.Show).ConfigureAwait(false);
                return ExitCode.Success;
            }

            if (await RunningMachines.FindAsync(name, cancel).ConfigureAwait(false) is (MachineStatistics statistics, string socket))
            {
                _ = await RunningMachines.AskAsync(statistics.Name, socket, new ControlRequest(ControlRequest.Resume), cancel).ConfigureAwait(false);
                return ExitCode.Success;
            }

            StateDirectory state = StateDirectory.ForUser();
            if (!state.IsSuspended(name))
                throw new CliException(ExitCode.NoMachine, $"{name}: no machine of that name is paused or suspended; \"doppel stats\" shows those that run");
            // What it was suspended to is of the past as soon as it goes on.
            return Run(state.SuspendedOf(name).Find(StateDirectory.SuspendedName), result.GetValue(engine), SerialTarget.Read(result.GetValue(serial)), () => state.RemoveSuspended(name));
        });
        return command;
    }

    internal static Option<string?> Engine()
    {
        var engine = new Option<string?>("--engine") { Description = "Go on under another engine.", HelpName = "NAME" };
        engine.CompletionSources.Add([.. EngineNames.Choices]);
        return engine;
    }

    /// <summary>Runs a machine from a snapshot to its end.</summary>
    /// <param name="folder">The snapshot.</param>
    /// <param name="engine">Its engine; null for the one that it had.</param>
    /// <param name="serials">Where its serial ports go.</param>
    /// <param name="started">Called when it runs.</param>
    /// <returns>The exit code.</returns>
    internal static int Run(string folder, string? engine, IReadOnlyList<SerialTarget> serials, Action started)
    {
        using SnapshotReader snapshot = SnapshotReader.Open(folder);
        MachineSpec spec = snapshot.Manifest.Machine;
        if (serials.Count > spec.SerialPorts)
            throw new CliException(ExitCode.Usage, $"--serial is given {serials.Count} times: the machine has {spec.SerialPorts} serial ports");
        // A snapshot from a host with KVM goes on anywhere.
        spec = spec with { Engine = engine ?? (spec.Engine == EngineNames.Kvm ? EngineNames.Auto : spec.Engine) };
        return new RunSession(new RunRequest(spec, serials, TraceKinds.None, null, null, null, false, null) { Snapshot = snapshot, Started = started }).Run();
    }
}
