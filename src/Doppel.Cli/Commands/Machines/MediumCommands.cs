using System.CommandLine;
using Doppel.Vmm.Control;

namespace Doppel.Cli.Commands.Machines;

/// <summary>doppel insert and eject: change the medium of a running machine's drive.</summary>
internal static class MediumCommands
{
    internal static Command CreateInsert()
    {
        Argument<string> machine = LifeCommands.Machine();
        var file = new Argument<string>("file") { Description = "Image of the disc or diskette." };
        Option<string> drive = Drive();
        Option<bool> force = Force();
        var command = new ExampledCommand("insert", "Put a disc or diskette into a running machine's drive; what is in it is taken out.", "doppel insert debian drivers.iso", "doppel insert dos disk2.img --drive floppy0") { machine, file, drive, force };
        command.SetAction(async (result, cancel) =>
        {
            string path = Path.GetFullPath(result.GetRequiredValue(file));
            await ChangeAsync(result.GetRequiredValue(machine), result.GetRequiredValue(drive), path, result.GetValue(force), cancel).ConfigureAwait(false);
            return ExitCode.Success;
        });
        return command;
    }

    internal static Command CreateEject()
    {
        Argument<string> machine = LifeCommands.Machine();
        Option<string> drive = Drive();
        Option<bool> force = Force();
        var command = new ExampledCommand("eject", "Take the disc or diskette out of a running machine's drive.", "doppel eject debian", "doppel eject debian --force") { machine, drive, force };
        command.SetAction(async (result, cancel) =>
        {
            await ChangeAsync(result.GetRequiredValue(machine), result.GetRequiredValue(drive), null, result.GetValue(force), cancel).ConfigureAwait(false);
            return ExitCode.Success;
        });
        return command;
    }

    private static Option<string> Drive() => new("--drive") { Description = "The drive: cdrom0, cdrom1 and so on, or floppy0 and floppy1.", HelpName = "NAME", DefaultValueFactory = _ => "cdrom0" };

    private static Option<bool> Force() => new("--force") { Description = "Do it though the guest has locked the drive." };

    private static async Task ChangeAsync(string machine, string drive, string? path, bool isForced, CancellationToken cancel)
    {
        _ = await RunningMachines.AskAsync(machine, new ControlRequest(ControlRequest.ChangeMedium) { Drive = drive, Medium = path, IsForced = isForced }, cancel).ConfigureAwait(false);
    }
}
