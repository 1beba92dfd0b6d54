using System.Text.Json;
using Doppel.Api;
using Doppel.Host.Confinement;
using Doppel.Host.Processes;
using Doppel.Vmm;
using Doppel.Vmm.Control;
using Doppel.Vmm.Snapshots;

namespace Doppel.Cli.Commands.Machines;

/// <summary>
/// doppel worker --spare: a process that the daemon has started before a machine needs it. It runs a small
/// machine, saves and restores it, so that the runtime has compiled what a start takes; then it waits for the machine that it is for, is
/// confined to that, and goes on as any worker.
/// </summary>
internal static class SpareWorker
{
    /// <summary>What it says on standard output when it waits for its machine.</summary>
    internal const string Ready = "spare";

    private static readonly TimeSpan Longest = TimeSpan.FromSeconds(30);

    internal static async Task<int> RunAsync(CancellationToken cancel)
    {
        HostProcess.LeaveTerminal();
        await WarmUpAsync(cancel).ConfigureAwait(false);
        Console.Out.Write(Ready + "\n");
        Console.Out.Flush();
        if (await Console.In.ReadLineAsync(cancel).ConfigureAwait(false) is not string line)
            return ExitCode.Success;
        WorkerOrder order = JsonSerializer.Deserialize(line, ApiJson.Default.WorkerOrder)!;
        // Nothing of the machine has been read yet.
        _ = Landlock.ConfineProcess(order.Rules);
        Environment.SetEnvironmentVariable("TMPDIR", order.Temporary);
        return order.IsArrival
            ? await ArrivingWorker.RunAsync(order.Machine).ConfigureAwait(false)
            : await WorkerCommand.RunAsync(order.Machine, order.Snapshot).ConfigureAwait(false);
    }

    private static async Task WarmUpAsync(CancellationToken cancel)
    {
        const string Name = "spare";
        string folder = Directory.CreateTempSubdirectory("doppel-s-").FullName;
        try
        {
            string kernel = Path.Combine(folder, "kernel");
            await File.WriteAllBytesAsync(kernel, WarmUpKernel.Create(), cancel).ConfigureAwait(false);
            var machine = new MachineFolder(new StateDirectory(folder), Name);
            var spec = new MachineSpec { Name = Name, Kernel = kernel, Memory = 4 << 20 };
            machine.Record = new MachineRecord { Spec = spec, Created = DateTimeOffset.UtcNow };
            spec = machine.Record.Spec;
            var store = new SnapshotStore(Path.Combine(folder, "saved"));
            SaveResult saved;
            await using (VirtualMachine first = VirtualMachine.Create(spec, new MachineConnections()))
            {
                first.Start();
                _ = await first.Console.ReadUntilAsync($"{WarmUpKernel.Done}", Longest, cancel).ConfigureAwait(false);
                saved = await first.SaveAsync(store, new SaveOptions { Name = Name, IsPassing = true }, cancel).ConfigureAwait(false);
            }

            using SnapshotReader reader = SnapshotReader.Open(saved.Folder);
            _ = await WorkerCommand.WithConsoleAsync(machine, async console =>
            {
                await using VirtualMachine again = VirtualMachine.Restore(reader, then => then with { Name = Name }, new MachineConnections { Serial1 = console });
                using ControlSocket socket = ControlServer.Listen(new ControlDirectory(folder));
                await using ControlServer control = ControlServer.Start(again, socket, new StateDirectory(folder), console, null);
                again.Start();
                machine.Worker = new WorkerRecord(Environment.ProcessId, 0, control.Path, DateTimeOffset.UtcNow);
                using ControlClient client = await ControlClient.ConnectAsync(control.Path, cancel).ConfigureAwait(false);
                _ = await client.AskAsync(new ControlRequest(ControlRequest.Statistics), cancel).ConfigureAwait(false);
                return await again.StopAsync().ConfigureAwait(false);
            }).ConfigureAwait(false);
        }
        catch (Exception e) when (e is IOException or TimeoutException or SpecException or SnapshotException or UnauthorizedAccessException)
        {
            // A machine starts without this, too, only later; if it can't start either it says why.
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }

        GC.Collect();
    }
}
