using System.CommandLine;
using Doppel.Api;
using Doppel.Host.Terminals;

namespace Doppel.Cli.Commands.Machines;

/// <summary>doppel logs: what a machine in the background has written to its console.</summary>
internal static class LogsCommand
{
    internal static Command Create()
    {
        Argument<string> machine = Daemon.Machine();
        var follow = new Option<bool>("--follow", "-f") { Description = "Go on with what it writes until its run ends, or this is interrupted." };
        var command = new ExampledCommand("logs", "Print what a machine has written to its console, over all its runs.", "doppel logs web", "doppel logs -f web") { machine, follow };
        command.SetAction(async (result, cancel) =>
        {
            using DaemonClient daemon = Daemon.Connect(result);
            await using Stream log = await daemon.GetLogsAsync(result.GetRequiredValue(machine), cancel, result.GetValue(follow)).ConfigureAwait(false);
            await using Stream output = StandardStreams.OpenOutput();
            byte[] buffer = new byte[16 << 10];
            while (await log.ReadAsync(buffer, cancel).ConfigureAwait(false) is int count && count != 0)
            {
                await output.WriteAsync(buffer.AsMemory(0, count), cancel).ConfigureAwait(false);
                await output.FlushAsync(cancel).ConfigureAwait(false);
            }

            return ExitCode.Success;
        });
        return command;
    }
}
