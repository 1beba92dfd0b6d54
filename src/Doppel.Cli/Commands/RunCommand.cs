using System.CommandLine;
using Doppel.Cli.Commands.Machines;

namespace Doppel.Cli.Commands;

/// <summary>doppel run.</summary>
internal static class RunCommand
{
    internal static Command Create()
    {
        var options = new RunOptions();
        var command = new ExampledCommand(
            "run",
            "Boot a machine: an image, or a kernel. The terminal becomes its serial console.",
            "doppel run",
            "doppel run debian",
            "doppel run debian --name web --memory 2G --user anna --ssh-key ~/.ssh/id_ed25519.pub",
            "doppel run --detach --name web --restart on-failure",
            "doppel run debian --ephemeral --cloud-init user-data.yaml",
            "doppel run --kernel vmlinuz --initrd initrd.img --append console=ttyS0")
        { options.GuestImage.Image };
        foreach (Option option in options.All)
            command.Options.Add(option);
        var kept = new KeptOptions();
        var detach = new Option<bool>("--detach", "-d") { Description = "Run it in the background, kept by name: \"doppel ps\", \"console\", \"stop\" and others have it." };
        command.Options.Add(detach);
        foreach (Option option in kept.All)
            command.Options.Add(option);
        command.SetAction(async (result, cancel) =>
        {
            if (result.GetValue(detach))
                return await CreateCommand.RunAsync(options, kept, result, starts: true, cancel).ConfigureAwait(false);
            if (kept.All.FirstOrDefault(o => result.GetResult(o) is { Implicit: false }) is Option wrong)
                throw new CliException(ExitCode.Usage, $"{wrong.Name} is for a machine in the background; with --detach it would be right");
            return new RunSession(options.Read(result)).Run();
        });
        return command;
    }
}
