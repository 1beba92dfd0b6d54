using System.CommandLine;
using Doppel.Api;

namespace Doppel.Cli.Commands.Machines;

/// <summary>doppel daemon status, stop.</summary>
internal static class DaemonCommand
{
    internal static Command Create()
    {
        var status = new ExampledCommand("status", "Say whether the daemon runs.", "doppel daemon status");
        status.SetAction(async (result, cancel) =>
        {
            if (HostOptions.Read(result) is Remote remote)
            {
                using var other = new DaemonClient(remote);
                DaemonView its = await other.GetDaemonAsync(cancel).ConfigureAwait(false);
                Console.Out.Write($"running, process {its.ProcessId}, version {its.Version}, {Remote.Scheme}{remote.Host}:{remote.Port}\n");
                return ExitCode.Success;
            }

            DaemonLocation location = DaemonLocation.ForUser();
            if (!location.IsUp())
            {
                Console.Out.Write("not running\n");
                return ExitCode.NoMachine;
            }

            using var client = new DaemonClient(location.Socket);
            DaemonView view = await client.GetDaemonAsync(cancel).ConfigureAwait(false);
            Console.Out.Write($"running, process {view.ProcessId}, version {view.Version}, {location.Socket}\n");
            return ExitCode.Success;
        });
        var stop = new ExampledCommand("stop", "End the daemon. Machines go on; the next daemon finds them.", "doppel daemon stop");
        stop.SetAction(async (result, cancel) =>
        {
            if (HostOptions.Read(result) is Remote remote)
            {
                using var other = new DaemonClient(remote);
                await other.StopDaemonAsync(cancel).ConfigureAwait(false);
                return ExitCode.Success;
            }

            DaemonLocation location = DaemonLocation.ForUser();
            if (!location.IsUp())
                return ExitCode.Success;
            using var client = new DaemonClient(location.Socket);
            await client.StopDaemonAsync(cancel).ConfigureAwait(false);
            return ExitCode.Success;
        });
        return new Command("daemon", "The process that keeps machines in the background; it is started by the first command that needs it.") { status, stop };
    }
}
