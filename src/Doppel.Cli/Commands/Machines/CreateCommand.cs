using System.CommandLine;
using Doppel.Api;
using Doppel.Vmm;

namespace Doppel.Cli.Commands.Machines;

/// <summary>doppel create: a machine that is kept by name.</summary>
internal static class CreateCommand
{
    internal static Command Create()
    {
        var options = new RunOptions();
        var kept = new KeptOptions();
        var file = new Option<string?>("--file", "-f") { Description = "Describe the machine by a YAML or JSON file instead of options: its fields are those of docs/machine.schema.json.", HelpName = "FILE" };
        var command = new ExampledCommand(
            "create", "Make a machine that is kept by name; \"doppel start\" starts it.", "doppel create --name web --memory 1G", "doppel create -f web.yaml", "doppel start web")
        { options.GuestImage.Image, file };
        foreach (Option option in options.All.Except(options.Foreground).Concat(kept.All))
            command.Options.Add(option);
        command.SetAction(async (result, cancel) => result.GetValue(file) is string path
            ? await RunAsync(MachineFile.Read(path), result, starts: false, cancel).ConfigureAwait(false)
            : await RunAsync(options, kept, result, starts: false, cancel).ConfigureAwait(false));
        return command;
    }

    /// <summary>Creates a machine of the options of doppel run, and starts it if that is asked for.</summary>
    internal static async Task<int> RunAsync(RunOptions options, KeptOptions kept, ParseResult result, bool starts, CancellationToken cancel)
    {
        if (options.Foreground.FirstOrDefault(o => result.GetResult(o) is { Implicit: false }) is Option wrong)
            throw new CliException(ExitCode.Usage, $"{wrong.Name} is for a machine in the foreground; \"doppel run\" without --detach would be right");
        RunRequest request = options.Read(result);
        if (request.TemporaryFile is not null)
            throw new CliException(ExitCode.Usage, "--ephemeral: an image's guest in the background needs a disk that is kept; --rm would be right");
        return await RunAsync(new CreateRequest { Spec = request.Spec.WithFullPaths(), Restart = kept.Restart(result), AutoRemove = kept.AutoRemove(result) }, result, starts, cancel).ConfigureAwait(false);
    }

    private static async Task<int> RunAsync(CreateRequest request, ParseResult result, bool starts, CancellationToken cancel)
    {
        using DaemonClient daemon = Daemon.Connect(result);
        MachineView made = await daemon.CreateAsync(request, cancel).ConfigureAwait(false);
        try
        {
            if (starts)
            {
                using var line = new OperationLine();
                _ = await daemon.DoAsync(made.Name, "start", cancel, line.Show).ConfigureAwait(false);
            }
        }
        catch (Exception e) when (e is ApiException or OperationCanceledException)
        {
            await daemon.RemoveAsync(made.Name, force: true, CancellationToken.None).ConfigureAwait(false);
            throw;
        }

        Console.Out.Write(made.Name + "\n");
        return ExitCode.Success;
    }
}
