using System.CommandLine;
using System.Globalization;
using System.Text.Json;
using Doppel.Api;

namespace Doppel.Cli.Commands.Machines;

/// <summary>doppel operation ls, show, cancel: what takes its time in the daemon.</summary>
internal static class OperationsCommand
{
    internal static Command Create() => new("operation", "See and cancel what the daemon is doing: starts, snapshots, clones.") { CreateList(), CreateShow(), CreateCancel() };

    private static Argument<string> Id() => new("id") { Description = "The operation's number." };

    private static ExampledCommand CreateList()
    {
        var json = new Option<bool>("--json") { Description = "Print JSON." };
        var command = new ExampledCommand("ls", "List operations: those under way, and those that ended a short while ago.", "doppel operation ls") { json };
        command.SetAction(async (result, cancel) =>
        {
            using DaemonClient daemon = Daemon.Connect(result);
            IReadOnlyList<Operation> operations = await daemon.ListOperationsAsync(cancel).ConfigureAwait(false);
            if (result.GetValue(json))
                Console.Out.Write(JsonSerializer.Serialize(operations, ApiJson.Default.IReadOnlyListOperation) + "\n");
            else
                Table.Write(["ID", "KIND", "MACHINE", "STATE", "BEGAN", "PROGRESS"], operations.Select(Row));
            return ExitCode.Success;
        });
        return command;
    }

    private static ExampledCommand CreateShow()
    {
        Argument<string> id = Id();
        var command = new ExampledCommand("show", "Print an operation, as JSON.", "doppel operation show 7") { id };
        command.SetAction(async (result, cancel) =>
        {
            using DaemonClient daemon = Daemon.Connect(result);
            Console.Out.Write(JsonSerializer.Serialize(await daemon.GetOperationAsync(result.GetRequiredValue(id), cancel).ConfigureAwait(false), ApiJson.Default.Operation) + "\n");
            return ExitCode.Success;
        });
        return command;
    }

    private static ExampledCommand CreateCancel()
    {
        Argument<string> id = Id();
        var command = new ExampledCommand("cancel", "Ask an operation to end; what it was about is as before then.", "doppel operation cancel 7") { id };
        command.SetAction(async (result, cancel) =>
        {
            using DaemonClient daemon = Daemon.Connect(result);
            _ = await daemon.CancelOperationAsync(result.GetRequiredValue(id), cancel).ConfigureAwait(false);
            return ExitCode.Success;
        });
        return command;
    }

    private static string[] Row(Operation operation) =>
    [
        operation.Id,
        operation.Kind,
        operation.Machine,
        operation.State.ToString().ToLowerInvariant(),
        operation.Began.ToLocalTime().ToString("yyyy-MM-dd HH:mm:ss", CultureInfo.InvariantCulture),
        operation is { State: OperationState.Running, Progress: { } progress } ? progress.Total == 0 ? progress.Phase : $"{progress.Phase} {100 * progress.Done / progress.Total} %" : operation.Error ?? "-",
    ];
}
