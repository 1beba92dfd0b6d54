using System.Runtime.InteropServices;
using Doppel.Api;
using Doppel.Host.Files;
using Doppel.Host.Processes;

namespace Doppel.Daemon;

/// <summary>doppeld: keeps a user's machines. It decides and asks; each machine has a process of its own, which goes on without it.</summary>
internal static class Program
{
    private const int HostFailure = 6;
    private const string WorkerVariable = "DOPPEL_WORKER";

    private static async Task<int> Main()
    {
        HostProcess.LeaveTerminal();
        try
        {
            return await RunAsync(DaemonLocation.ForUser()).ConfigureAwait(false);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            Console.Error.WriteLine($"doppeld: {e.Message}");
            return HostFailure;
        }
    }

    private static async Task<int> RunAsync(DaemonLocation location)
    {
        _ = Directory.CreateDirectory(location.State.Path, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
        using FileLock? only = FileLock.TryTake(location.LockPath);
        if (only is null)
        {
            Console.Error.WriteLine($"doppeld: another daemon keeps the machines in {location.State.Path}");
            return HostFailure;
        }

        PrivateDirectory.Ensure(location.Runtime.Path);
        File.Delete(location.Socket);
        using var machines = new MachineRegistry(location.State, Environment.GetEnvironmentVariable(WorkerVariable) ?? Path.Combine(AppContext.BaseDirectory, "doppel"));
        var server = new DaemonServer(machines, location.Socket);
        await server.StartAsync().ConfigureAwait(false);
        File.SetUnixFileMode(location.Socket, UnixFileMode.UserRead | UnixFileMode.UserWrite);
        using PosixSignalRegistration terminate = PosixSignalRegistration.Create(PosixSignal.SIGTERM, context =>
        {
            context.Cancel = true;
            _ = server.StopAsync();
        });
        Console.Out.Write(DaemonLocation.Ready + "\n");
        Console.Out.Flush();
        await server.WaitAsync().ConfigureAwait(false);
        File.Delete(location.Socket);
        return 0;
    }
}
