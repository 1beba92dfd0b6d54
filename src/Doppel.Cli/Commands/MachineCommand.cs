using System.CommandLine;
using Doppel.Vmm.Machines;

namespace Doppel.Cli.Commands;

/// <summary>doppel machine ls, rm.</summary>
internal static class MachineCommand
{
    internal static Command Create() => new("machine", "The machines whose disks are kept between runs.") { CreateList(), CreateRemove() };

    private static ExampledCommand CreateList()
    {
        var command = new ExampledCommand("ls", "List the machines that are kept.", "doppel machine ls");
        command.SetAction(_ =>
        {
            Table.Write(["NAME", "IMAGE", "CREATED", "WRITTEN", "DIRECTORY"], MachineStore.ForUser().List().Select(m => (string[])[m.Name, m.Description.Image, $"{m.Description.Created.ToLocalTime():yyyy-MM-dd HH:mm}", $"{m.OverlaySize / 1048576.0:0.0} MiB", m.Directory]));
            return ExitCode.Success;
        });
        return command;
    }

    private static ExampledCommand CreateRemove()
    {
        var name = new Argument<string>("name") { Description = "The machine.", HelpName = "name" };
        name.CompletionSources.Add(_ => MachineStore.ForUser().List().Select(m => m.Name));
        var command = new ExampledCommand("rm", "Remove a machine with everything that its guest has written.", "doppel machine rm web") { name };
        command.SetAction(result =>
        {
            string given = result.GetRequiredValue(name);
            if (!MachineStore.ForUser().Remove(given))
                throw new CliException(ExitCode.NoMachine, $"no machine \"{given}\" is kept; \"doppel machine ls\" lists them");
            return ExitCode.Success;
        });
        return command;
    }
}
