using System.CommandLine;

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
            "doppel run debian --ephemeral --cloud-init user-data.yaml",
            "doppel run --kernel vmlinuz --initrd initrd.img --append console=ttyS0")
        { options.GuestImage.Image };
        foreach (Option option in options.All)
            command.Options.Add(option);
        command.SetAction(result => new RunSession(options.Read(result)).Run());
        return command;
    }
}
