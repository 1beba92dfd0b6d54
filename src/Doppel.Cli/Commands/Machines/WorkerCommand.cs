using System.CommandLine;
using System.Runtime.InteropServices;
using Doppel.Api;
using Doppel.Devices.Console;
using Doppel.Host.Confinement;
using Doppel.Host.Files;
using Doppel.Host.Processes;
using Doppel.Vmm;
using Doppel.Vmm.Consoles;
using Doppel.Vmm.Control;
using Doppel.Vmm.Snapshots;

namespace Doppel.Cli.Commands.Machines;

/// <summary>doppel worker: runs a kept machine in this process, for the daemon, without which it goes on.</summary>
internal static class WorkerCommand
{
    /// <summary>What it says on standard output when the machine runs.</summary>
    internal const string Ready = "ready";

    internal static Command Create()
    {
        var name = new Argument<string>("machine");
        var snapshot = new Option<string?>("--snapshot");
        var command = new Command("worker", "Run a kept machine in this process, for the daemon.") { name, snapshot };
        command.Hidden = true;
        command.SetAction((result, _) => RunAsync(result.GetRequiredValue(name), result.GetValue(snapshot), Environment.GetEnvironmentVariable(ConfinementProbe.Variable)));
        return command;
    }

    private static async Task<int> RunAsync(string name, string? snapshot, string? probe)
    {
        HostProcess.LeaveTerminal();
        StateDirectory state = StateDirectory.ForUser();
        var folder = new MachineFolder(state, name);
        MachineRecord record = folder.Record ?? throw new CliException(ExitCode.NoMachine, $"{name}: no machine of that name is kept; \"doppel ps --all\" shows all");
        // Whoever waits for this process waits for the lock: it ends with the process, however that ends.
        using FileLock held = FileLock.TryTake(folder.WorkerLockPath) ?? throw new CliException(ExitCode.Host, $"{name}: the machine runs already");
        bool goesOn = snapshot is null && folder.IsSuspended;
        string? from = goesOn ? state.SuspendedOf(name).Find(StateDirectory.SuspendedName) : snapshot;
        using SnapshotReader? reader = from is null ? null : SnapshotReader.Open(from);
        var log = new StreamConsole(new FileStream(folder.LogPath, FileMode.Append, FileAccess.Write, FileShare.ReadWrite));
        VmExit exit;
        await using (log.ConfigureAwait(false))
        {
            var console = new SharedConsole(log);
            var connections = new MachineConnections { Serial1 = console };
            await using VirtualMachine machine = reader is null
                ? VirtualMachine.Create(record.Spec, connections)
                : VirtualMachine.Restore(reader, then => then with { Name = name, Engine = record.Spec.Engine, CpuCap = record.Spec.CpuCap, CpuWeight = record.Spec.CpuWeight }, connections);
            using PosixSignalRegistration terminate = PosixSignalRegistration.Create(PosixSignal.SIGTERM, context =>
            {
                context.Cancel = true;
                _ = machine.StopAsync();
            });
            await using ControlServer control = ControlServer.Start(machine, ControlDirectory.ForUser().OfMachine(name), state, console);
            folder.Worker = new WorkerRecord(Environment.ProcessId, HostProcess.StartOf(Environment.ProcessId)!.Value, control.Path, DateTimeOffset.UtcNow);
            folder.Exit = null;
            // Nothing of the guest has run yet, and no device has seen anything of it.
            SystemCallFilter.ConfineProcess(WorkerSockets.FamiliesOf(machine.Spec));
            if (probe is not null)
                ConfinementProbe.Run(probe, Path.Combine(folder.RunPath, "confinement"));
            machine.Start();
            if (goesOn)
                state.RemoveSuspended(name);
            Console.Out.Write(Ready + "\n");
            Console.Out.Flush();
            exit = await machine.WaitAsync().ConfigureAwait(false);
        }

        int code = ExitCode.Of(exit);
        folder.Exit = new ExitRecord(exit.Message, code, DateTimeOffset.UtcNow) { Kind = exit.Kind };
        folder.Worker = null;
        return code;
    }
}
