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
        var command = new ExampledCommand("logs", "Print what a machine has written to its console, over all its runs.", "doppel logs web") { machine };
        command.SetAction(async (result, cancel) =>
        {
            using DaemonClient daemon = Daemon.Connect();
            await using Stream log = await daemon.GetLogsAsync(result.GetRequiredValue(machine), cancel).ConfigureAwait(false);
            await using Stream output = StandardStreams.OpenOutput();
            await log.CopyToAsync(output, cancel).ConfigureAwait(false);
            return ExitCode.Success;
        });
        return command;
    }
}
