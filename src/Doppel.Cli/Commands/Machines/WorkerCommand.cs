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
using Doppel.Vmm.Limits;
using Doppel.Vmm.Migration;
using Doppel.Vmm.Snapshots;

namespace Doppel.Cli.Commands.Machines;

/// <summary>doppel worker: runs a kept machine in this process, for the daemon, without which it goes on.</summary>
internal static class WorkerCommand
{
    /// <summary>What it says on standard output when the machine runs.</summary>
    internal const string Ready = "ready";

    /// <summary>The command's name.</summary>
    internal const string Name = "worker";

    internal static Command Create()
    {
        var name = new Argument<string>("machine") { Arity = ArgumentArity.ZeroOrOne };
        var spare = new Option<bool>("--spare");
        var snapshot = new Option<string?>("--snapshot");
        var arrival = new Option<bool>("--arrival");
        var pager = new Option<bool>("--pager");
        var command = new Command(Name, "Run a kept machine in this process, for the daemon.") { name, snapshot, arrival, pager, spare };
        command.Hidden = true;
        command.SetAction((result, cancel) =>
        {
            string? machine = result.GetValue(name);
            if (result.GetValue(spare))
                return SpareWorker.RunAsync(cancel);
            if (machine is null)
                throw new CliException(ExitCode.Usage, "doppel worker: a machine's name would be right; only the daemon has a use for it");
            if (result.GetValue(pager))
                return PagerWorker.RunAsync(machine);
            return result.GetValue(arrival) ? ArrivingWorker.RunAsync(machine) : RunAsync(machine, result.GetValue(snapshot));
        });
        return command;
    }

    /// <summary>Runs a machine to its end.</summary>
    /// <param name="name">Its name.</param>
    /// <param name="snapshot">The folder of the snapshot that it goes on from; null for none.</param>
    /// <returns>The exit code.</returns>
    internal static async Task<int> RunAsync(string name, string? snapshot)
    {
        string? probe = Environment.GetEnvironmentVariable(ConfinementProbe.Variable);
        HostProcess.LeaveTerminal();
        StateDirectory state = StateDirectory.ForUser();
        var folder = new MachineFolder(state, name);
        MachineRecord record = folder.Record ?? throw new CliException(ExitCode.NoMachine, $"{name}: no machine of that name is kept; \"doppel ps --all\" shows all");
        // Whoever waits for this process waits for the lock: it ends with the process, however that ends.
        using FileLock held = FileLock.TryTake(folder.WorkerLockPath) ?? throw new CliException(ExitCode.Host, $"{name}: the machine runs already");
        bool goesOn = snapshot is null && folder.IsSuspended;
        string? from = goesOn ? state.SuspendedOf(name).Find(StateDirectory.SuspendedName) : snapshot;
        using SnapshotReader? reader = from is null ? null : SnapshotReader.Open(from);
        return await WithConsoleAsync(folder, async console =>
        {
            var connections = new MachineConnections { Serial1 = console };
            await using VirtualMachine machine = reader is null
                ? VirtualMachine.Create(record.Spec, connections)
                : VirtualMachine.Restore(reader, then => (then with { Name = name, Engine = record.Spec.Engine, FirmwareVariables = record.Spec.FirmwareVariables, Parallel = record.Spec.Parallel }).WithLimitsOf(record.Spec), connections);
            using ControlSocket socket = ControlServer.Listen(ControlDirectory.ForUser().OfMachine(name));
            return await ServeAsync(machine, folder, state, console, socket, () =>
            {
                // Nothing of the guest has run yet, and no device has seen anything of it.
                SystemCallFilter.ConfineProcess(WorkerSockets.FamiliesOf(machine.Spec));
                if (probe is not null)
                    ConfinementProbe.Run(probe, Path.Combine(folder.RunPath, "confinement"));
                machine.Start();
                if (goesOn)
                    state.RemoveSuspended(name);
            }).ConfigureAwait(false);
        }).ConfigureAwait(false);
    }

    /// <summary>Does something with the first serial port's console, which is kept in the machine's folder, and keeps the end that comes of it.</summary>
    /// <returns>The exit code.</returns>
    internal static async Task<int> WithConsoleAsync(MachineFolder folder, Func<SharedConsole, Task<VmExit>> run)
    {
        var log = new StreamConsole(new FileStream(folder.LogPath, FileMode.Append, FileAccess.Write, FileShare.ReadWrite));
        VmExit exit;
        await using (log.ConfigureAwait(false))
            exit = await run(new SharedConsole(log)).ConfigureAwait(false);
        int code = ExitCode.Of(exit);
        folder.Exit = new ExitRecord(exit.Message, code, DateTimeOffset.UtcNow) { Kind = exit.Kind };
        folder.Worker = null;
        return code;
    }

    /// <summary>Lets a machine run, offers its control socket, says that it runs, and waits for its end.</summary>
    /// <param name="machine">The machine.</param>
    /// <param name="folder">Its folder.</param>
    /// <param name="state">Where its snapshots are.</param>
    /// <param name="console">Its console.</param>
    /// <param name="socket">Where it is asked.</param>
    /// <param name="start">Lets it run, if it doesn't yet.</param>
    internal static async Task<VmExit> ServeAsync(VirtualMachine machine, MachineFolder folder, StateDirectory state, SharedConsole console, ControlSocket socket, Action start)
    {
        using PosixSignalRegistration terminate = PosixSignalRegistration.Create(PosixSignal.SIGTERM, context =>
        {
            context.Cancel = true;
            _ = machine.StopAsync();
        });
        await using var departure = new MachineDeparture(machine, new MigrationJournal(folder, null)) { Step = CrashPoint.Of("source") };
        await using ControlServer control = ControlServer.Start(machine, socket, state, console, departure);
        folder.Worker = new WorkerRecord(Environment.ProcessId, HostProcess.StartOf(Environment.ProcessId)!.Value, control.Path, DateTimeOffset.UtcNow);
        folder.Exit = null;
        start();
        try
        {
            Console.Out.Write(Ready + "\n");
            Console.Out.Flush();
        }
        catch (IOException)
        {
            // The daemon that has started this process is gone.
        }

        VmExit exit = await machine.WaitAsync().ConfigureAwait(false);
        if (exit.Kind == VmExitKind.Migrated && folder.Permit is PermitRecord permit)
            folder.Permit = permit with { Progress = departure.Progress };
        return exit;
    }
}
