using System.Diagnostics;
using System.Net;
using System.Text.Json;
using Doppel.Api;
using Doppel.Host.Confinement;
using Doppel.Host.Memory;
using Doppel.Host.Processes;
using Doppel.Vmm;
using Doppel.Vmm.Migration;
using Doppel.Vmm.Migration.PostCopy;

namespace Doppel.Cli.Commands.Machines;

/// <summary>
/// doppel worker --pager: brings the last pages of a machine that runs in another process already. Without them that can't go on, nor
/// end by itself, for its threads may wait for them in the kernel: so this one ends it when they are lost.
/// </summary>
internal static class PagerWorker
{
    /// <summary>What it says when the machine may touch its memory.</summary>
    internal const string Begun = "begun";

    /// <summary>What it says when all pages are in place.</summary>
    internal const string Done = "done";

    private const int InternetSockets = 2, Internet6Sockets = 10;

    // The source may have ended the migration, of which the machine's process is just about to hear.
    private static readonly TimeSpan Grace = TimeSpan.FromSeconds(3);

    internal static async Task<int> RunAsync(string name)
    {
        HostProcess.LeaveTerminal();
        PagerOrder order = JsonSerializer.Deserialize(await Console.In.ReadLineAsync().ConfigureAwait(false) ?? "null", ApiJson.Default.PagerOrder)
            ?? throw new CliException(ExitCode.Usage, "doppel worker --pager: only a worker has a use for it");
        using var faults = PageFaultDescriptor.Inherited(order.Descriptor);
        SystemCallFilter.ConfineProcess([InternetSockets, Internet6Sockets], order.Process);
        using MigrationListener listener = MigrationListener.OnTcp(order.Address is string address ? IPAddress.Parse(address) : null, order.Id);
        Say(JsonSerializer.Serialize(listener.Address, ApiJson.Compact.MigrationAddress));
        var memory = new TaskCompletionSource<PagedMemory>(TaskCreationOptions.RunContinuationsAsynchronously);
        using var ended = new CancellationTokenSource();
        Task hearing = Task.Run(async () =>
        {
            if (await Console.In.ReadLineAsync().ConfigureAwait(false) is string line)
            {
                memory.SetResult(JsonSerializer.Deserialize(line, ApiJson.Default.PagedMemory)!);
                _ = await Console.In.ReadToEndAsync().ConfigureAwait(false);
            }

            // The machine's process has ended, or needs nothing.
            _ = memory.TrySetCanceled();
            await ended.CancelAsync().ConfigureAwait(false);
        });
        try
        {
            Action<string>? step = CrashPoint.Of("pager");
            var folder = new MachineFolder(StateDirectory.ForUser(), name);
            Action? placed = step is null ? null : () => step(folder.Accepted?.Id == order.Id ? "late" : "early");
            await new PostCopyPager(listener, faults) { Placed = placed }.RunAsync(memory.Task, () => Say(Begun), ended.Token).ConfigureAwait(false);
            Say(Done);
        }
        catch (OperationCanceledException)
        {
            return ExitCode.Success;
        }
        catch (Exception e) when (e is IOException or Host.HostException)
        {
            if (await Task.WhenAny(hearing, Task.Delay(Grace)).ConfigureAwait(false) != hearing)
                EndMachine(name, order.Id, order.Process, e.Message);
        }

        return ExitCode.Success;
    }

    private static void Say(string line)
    {
        Console.Out.Write(line + "\n");
        Console.Out.Flush();
    }

    /// <summary>Ends the machine's process, and keeps why if the machine was here by then.</summary>
    /// <param name="name">The machine.</param>
    /// <param name="id">The migration.</param>
    /// <param name="process">Its process.</param>
    /// <param name="why">What has happened.</param>
    internal static void EndMachine(string name, Guid id, int process, string why)
    {
        var folder = new MachineFolder(StateDirectory.ForUser(), name);
        if (folder.Accepted?.Id == id)
        {
            folder.Exit = new ExitRecord($"the machine is lost: it ran here, but not all of its memory had come from the other host: {why}", ExitCode.Host, DateTimeOffset.UtcNow) { Kind = VmExitKind.InternalError };
            folder.Worker = null;
        }

        using var worker = Process.GetProcessById(process);
        worker.Kill();
    }
}
