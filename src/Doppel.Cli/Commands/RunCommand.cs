using System.CommandLine;

namespace Doppel.Cli.Commands;

/// <summary>doppel run.</summary>
internal static class RunCommand
{
    internal static Command Create()
    {
        var options = new RunOptions();
        var command = new Command("run", "Boot a machine; without --kernel, the default guest. The terminal becomes its serial console.");
        foreach (Option option in options.All)
            command.Options.Add(option);
        command.SetAction(result => new RunSession(options.Read(result)).Run());
        return command;
    }
}
