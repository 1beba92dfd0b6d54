using System.CommandLine;
using System.Globalization;
using System.Text.Json;
using Doppel.Api;

namespace Doppel.Cli.Commands.Machines;

/// <summary>What is asked of the daemon in one call: doppel start, stop, kill, restart, inspect, rename and rm.</summary>
internal static class KeptCommands
{
    internal static Command CreateStart() => Simple("start", "Start a machine that was created, has ended or is suspended.", _ => "start");

    internal static Command CreateKill() => Simple("kill", "End a machine at once, whatever its guest does.", _ => "kill");

    internal static Command CreateRestart()
    {
        Option<int> time = Time();
        return Simple("restart", "Stop a machine and start it again.", result => $"restart?timeout={Seconds(result, time)}", time);
    }

    internal static Command CreateStop()
    {
        Option<int> time = Time();
        return Simple("stop", "Press a machine's power button, and end it if it takes too long.", result => $"stop?timeout={Seconds(result, time)}", time);
    }

    internal static Command CreateInspect()
    {
        Argument<string> machine = Daemon.Machine();
        var command = new ExampledCommand("inspect", "Print all that is known of a machine, as JSON.", "doppel inspect web") { machine };
        command.SetAction(async (result, cancel) =>
        {
            using DaemonClient daemon = Daemon.Connect(result);
            MachineView view = await daemon.GetAsync(result.GetRequiredValue(machine), cancel).ConfigureAwait(false);
            Console.Out.Write(JsonSerializer.Serialize(view, ApiJson.Default.MachineView) + "\n");
            return ExitCode.Success;
        });
        return command;
    }

    internal static Command CreateRename()
    {
        Argument<string> machine = Daemon.Machine();
        var name = new Argument<string>("name") { Description = "The new name." };
        var command = new ExampledCommand("rename", "Give a machine that doesn't run another name.", "doppel rename web old-web") { machine, name };
        command.SetAction(async (result, cancel) =>
        {
            using DaemonClient daemon = Daemon.Connect(result);
            _ = await daemon.RenameAsync(result.GetRequiredValue(machine), result.GetRequiredValue(name), cancel).ConfigureAwait(false);
            return ExitCode.Success;
        });
        return command;
    }

    internal static Command CreateRemove()
    {
        Argument<string> machine = Daemon.Machine();
        var force = new Option<bool>("--force", "-f") { Description = "End it first if it runs." };
        var command = new ExampledCommand("rm", "Remove a machine with all its files: snapshots, suspended state, kept disks.", "doppel rm web") { machine, force };
        command.SetAction(async (result, cancel) =>
        {
            using DaemonClient daemon = Daemon.Connect(result);
            await daemon.RemoveAsync(result.GetRequiredValue(machine), result.GetValue(force), cancel).ConfigureAwait(false);
            return ExitCode.Success;
        });
        return command;
    }

    private static Option<int> Time() => new("--time", "-t") { Description = "Seconds that the guest has for shutting down.", HelpName = "SECONDS", DefaultValueFactory = _ => 30 };

    private static string Seconds(ParseResult result, Option<int> time) => result.GetValue(time) is >= 0 and int seconds
        ? seconds.ToString(CultureInfo.InvariantCulture)
        : throw new CliException(ExitCode.Usage, $"--time {result.GetValue(time)}: 0 or more seconds would be right");

    private static ExampledCommand Simple(string verb, string description, Func<ParseResult, string> action, params Option[] options)
    {
        Argument<string> machine = Daemon.Machine();
        var command = new ExampledCommand(verb, description, $"doppel {verb} web") { machine };
        foreach (Option option in options)
            command.Options.Add(option);
        command.SetAction(async (result, cancel) =>
        {
            string path = action(result);
            using DaemonClient daemon = Daemon.Connect(result);
            using var line = new OperationLine();
            _ = await daemon.DoAsync(result.GetRequiredValue(machine), path, cancel, line.Show).ConfigureAwait(false);
            return ExitCode.Success;
        });
        return command;
    }
}
