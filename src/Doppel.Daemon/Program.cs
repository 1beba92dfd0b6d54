using System.Runtime.InteropServices;
using Doppel.Api;
using Doppel.Host.Files;
using Doppel.Host.Processes;
using Doppel.Vmm;

namespace Doppel.Daemon;

/// <summary>doppeld: keeps a user's machines. It decides and asks; each machine has a process of its own, which goes on without it.</summary>
internal static class Program
{
    private const int HostFailure = 6;
    private const string WorkerVariable = "DOPPEL_WORKER";

    private static async Task<int> Main(string[] arguments)
    {
        try
        {
            return await DaemonOptions.RunAsync(arguments, RunAsync).ConfigureAwait(false);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            Console.Error.WriteLine($"doppeld: {e.Message}");
            return HostFailure;
        }
    }

    private static async Task<int> RunAsync(DaemonOptions options)
    {
        HostProcess.LeaveTerminal();
        // Workers inherit it.
        if (options.StateDirectory is string directory)
            Environment.SetEnvironmentVariable(StateDirectory.Variable, Path.GetFullPath(directory));
        var location = DaemonLocation.ForUser();
        _ = Directory.CreateDirectory(location.State.Path, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
        using FileLock? only = FileLock.TryTake(location.LockPath);
        if (only is null)
        {
            Console.Error.WriteLine($"doppeld: another daemon keeps the machines in {location.State.Path}");
            return HostFailure;
        }

        PrivateDirectory.Ensure(location.Runtime.Path);
        TlsEndpoint? remote = options.Listen is string listen
            ? TlsEndpoint.Open(listen, options.Certificate, options.Key, options.TokenFile, Path.Combine(location.State.Path, "tls"))
            : null;
        File.Delete(location.Socket);
        await using var machines = new MachineRegistry(location, Environment.GetEnvironmentVariable(WorkerVariable) ?? Path.Combine(AppContext.BaseDirectory, "doppel"), options.MemoryOvercommit, options.Spares);
        var server = new DaemonServer(machines, location.Socket, remote);
        await server.StartAsync().ConfigureAwait(false);
        File.SetUnixFileMode(location.Socket, UnixFileMode.UserRead | UnixFileMode.UserWrite);
        using PosixSignalRegistration terminate = PosixSignalRegistration.Create(PosixSignal.SIGTERM, context =>
        {
            context.Cancel = true;
            _ = server.StopAsync();
        });
        if (remote is not null)
            Console.Error.WriteLine($"doppeld: listens on {Remote.Scheme}{remote.Address}; its certificate's fingerprint is {remote.Fingerprint}, its token is in {remote.TokenFile}");
        Console.Out.Write(DaemonLocation.Ready + "\n");
        Console.Out.Flush();
        await server.WaitAsync().ConfigureAwait(false);
        File.Delete(location.Socket);
        return 0;
    }
}
