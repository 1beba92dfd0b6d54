using System.CommandLine;
using Doppel.Devices.Storage.Images;

namespace Doppel.Cli.Commands;

/// <summary>doppel disk commit, rebase: what is done with overlays.</summary>
internal static class DiskOverlayCommands
{
    internal static Command CreateCommit()
    {
        Argument<string> image = DiskCommand.Image(description: "The overlay.");
        var keep = new Option<bool>("--keep") { Description = "Leave the overlay as it is instead of emptying it." };
        var command = new ExampledCommand(
            "commit",
            "Write what an overlay has into the image behind it. Other overlays of that image are then worthless.",
            "doppel disk commit vm1.qcow2")
        { image, keep };
        command.SetAction((result, cancel) =>
        {
            string path = result.GetRequiredValue(image), backing = "";
            DiskCommand.WithProgress($"committing {path}", report => backing = Overlays.Commit(path, result.GetValue(keep), report, cancel));
            Talk.Line($"{path}: committed to {backing}");
            return Task.FromResult(ExitCode.Success);
        });
        return command;
    }

    internal static Command CreateRebase()
    {
        Argument<string> image = DiskCommand.Image(description: "The overlay.");
        var backing = new Option<string?>("--backing") { Description = "The image that will lie behind it.", HelpName = "FILE" };
        Option<string?> format = DiskCommand.FormatOption("--backing-format", "That image's format [default: by its beginning].");
        var none = new Option<bool>("--no-backing") { Description = "Nothing will lie behind it: it gets all of the disk." };
        var headerOnly = new Option<bool>("--header-only") { Description = "Only change the name: the image has moved, and both are the same." };
        var command = new ExampledCommand(
            "rebase",
            "Put another image behind an overlay, whose disk stays the same.",
            "doppel disk rebase vm1.qcow2 --backing debian-2.qcow2",
            "doppel disk rebase vm1.qcow2 --no-backing",
            "doppel disk rebase vm1.qcow2 --header-only --backing /images/debian.qcow2")
        { image, backing, format, none, headerOnly };
        command.SetAction((result, cancel) =>
        {
            string path = result.GetRequiredValue(image);
            string? name = result.GetValue(backing);
            if (name is null == !result.GetValue(none))
                throw new CliException(ExitCode.Usage, "disk rebase: either --backing FILE or --no-backing would be right");
            DiskFormat? backingFormat = DiskCommand.Format(result, format);
            DiskCommand.WithProgress($"comparing {path}", report => Overlays.Rebase(path, name, backingFormat, result.GetValue(headerOnly), report, cancel));
            return Task.FromResult(ExitCode.Success);
        });
        return command;
    }
}
