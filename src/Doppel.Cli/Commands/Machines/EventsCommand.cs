using System.CommandLine;
using System.Globalization;
using System.Text.Json;
using Doppel.Api;

namespace Doppel.Cli.Commands.Machines;

/// <summary>doppel events: what happens to machines, as it happens.</summary>
internal static class EventsCommand
{
    internal static Command Create()
    {
        var json = new Option<bool>("--json") { Description = "Print a line of JSON for each." };
        var command = new ExampledCommand("events", "Print what happens to machines in the background, until it is interrupted.", "doppel events --json") { json };
        command.SetAction(async (result, cancel) =>
        {
            using DaemonClient daemon = Daemon.Connect(result);
            await foreach (MachineEvent happened in daemon.ReadEventsAsync(null, cancel).ConfigureAwait(false))
            {
                string time = happened.Time.ToLocalTime().ToString("yyyy-MM-dd HH:mm:ss.fff", CultureInfo.InvariantCulture);
                Console.Out.Write(result.GetValue(json)
                    ? JsonSerializer.Serialize(happened, ApiJson.Compact.MachineEvent) + "\n"
                    : $"{time} {happened.Machine} {happened.Event}{(happened.Detail.Length == 0 ? "" : ": " + happened.Detail)}\n");
                Console.Out.Flush();
            }

            return ExitCode.Success;
        });
        return command;
    }
}
