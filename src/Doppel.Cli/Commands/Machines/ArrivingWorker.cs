using System.Net;
using System.Text;
using System.Text.Json;
using Doppel.Api;
using Doppel.Host.Confinement;
using Doppel.Host.Files;
using Doppel.Host.Memory;
using Doppel.Host.Processes;
using Doppel.Vmm;
using Doppel.Vmm.Control;
using Doppel.Vmm.Migration;

namespace Doppel.Cli.Commands.Machines;

/// <summary>doppel worker --arrival: the process in which a machine arrives from another host, and goes on. What is left of one that doesn't the daemon removes.</summary>
internal static class ArrivingWorker
{
    internal static async Task<int> RunAsync(string name)
    {
        HostProcess.LeaveTerminal();
        var request = ArrivalRequest.Read(Encoding.UTF8.GetBytes(await Console.In.ReadToEndAsync().ConfigureAwait(false)));
        StateDirectory state = StateDirectory.ForUser();
        var folder = new MachineFolder(state, name);
        using FileLock held = FileLock.TryTake(folder.WorkerLockPath) ?? throw new CliException(ExitCode.Host, $"{name}: the machine runs already");
        // Later there may be none.
        using ControlSocket socket = ControlServer.Listen(ControlDirectory.ForUser().OfMachine(name));
        (PagerProcess? pager, string? noPostCopy) = request.PostCopy == true ? await StartPagerAsync(name, request).ConfigureAwait(false) : (null, null);
        using PagerProcess? owned = pager;
        // What the other host sends is parsed behind this.
        SystemCallFilter.ConfineProcess(WorkerSockets.FamiliesOf(request.Machine.Spec));
        MigrationListener listener = MigrationListener.OnTcp(request.Address is string address ? IPAddress.Parse(address) : null, request.Id);
        try
        {
            return await WorkerCommand.WithConsoleAsync(folder, async console =>
            {
                MachineSpec spec = request.Machine.Spec;
                var served = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
                var options = new ArrivalOptions
                {
                    Name = name,
                    Folder = folder.ArrivedPath,
                    Passing = request.Folder == folder.Path ? null : request.Folder,
                    Engine = request.Engine,
                    Connections = new MachineConnections { Serial1 = console },
                    Prepared = prepared => spec = prepared,
                    Pager = pager,
                    NoPostCopy = noPostCopy,
                    Step = CrashPoint.Of("target"),
                    Served = served.Task,
                };
                var journal = new MigrationJournal(folder, () => new AcceptedRecord(request.Id, BootFileList.CopiesOf(spec, folder.ArrivedPath, request.Id), [.. spec.Networks.Select(network => network.Mac).OfType<Devices.Network.MacAddress>()]));
                await using var target = new MigrationTarget(listener, options, journal);
                Task<VirtualMachine> arriving = target.ReceiveAsync(CancellationToken.None);
                Console.Out.Write(JsonSerializer.Serialize(listener.Address, ApiJson.Compact.MigrationAddress) + "\n");
                Console.Out.Flush();
                await using VirtualMachine machine = await arriving.ConfigureAwait(false);
                if (pager?.HasBegun == false)
                    pager.Dispose();
                return await WorkerCommand.ServeAsync(machine, folder, state, console, socket, served.SetResult).ConfigureAwait(false);
            }).ConfigureAwait(false);
        }
        catch (MigrationException e)
        {
            Talk.Error(e.Message);
            return ExitCode.Host;
        }
    }

    // Before this process may start none any more.
    private static async Task<(PagerProcess? Pager, string? Refusal)> StartPagerAsync(string name, ArrivalRequest request)
    {
        if (PageFaultDescriptor.TryOpen(out string? refusal) is not PageFaultDescriptor faults)
            return (null, refusal);
        try
        {
            return (await PagerProcess.StartAsync(name, request.Id, request.Address, faults).ConfigureAwait(false), null);
        }
        catch (Exception e) when (e is IOException or System.ComponentModel.Win32Exception)
        {
            faults.Dispose();
            return (null, e.Message);
        }
    }
}
