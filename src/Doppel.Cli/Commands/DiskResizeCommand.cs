using System.CommandLine;
using Doppel.Devices.Storage.Images;
using Doppel.Vmm;

namespace Doppel.Cli.Commands;

/// <summary>doppel disk resize.</summary>
internal static class DiskResizeCommand
{
    internal static Command Create()
    {
        Argument<string> image = DiskCommand.Image();
        var size = new Argument<string>("size") { Description = "The new size, or +SIZE to add to the present one." };
        Option<string?> format = DiskCommand.FormatOption("--format", "Its format [default: by its beginning].");
        var shrink = new Option<bool>("--shrink") { Description = "Allow a smaller size; what lies behind it is lost." };
        var command = new ExampledCommand(
            "resize",
            "Change the size of a disk; what is added reads as zeros. The guest's partitions and file systems stay as they are.",
            "doppel disk resize disk.qcow2 40G",
            "doppel disk resize disk.qcow2 +10G",
            "doppel disk resize --shrink disk.qcow2 5G")
        { image, size, format, shrink };
        command.SetAction(result =>
        {
            string text = result.GetRequiredValue(size);
            ulong given = DiskCommand.Size("the size", text.TrimStart('+'));
            using DiskImage disk = DiskImages.Open(result.GetRequiredValue(image), new DiskOpenOptions { Format = DiskCommand.Format(result, format) });
            ulong length = text.StartsWith('+') ? disk.Length + given : given;
            if (length < disk.Length && !result.GetValue(shrink))
                throw new CliException(ExitCode.Usage, $"{disk.Name}: {text} is less than the present {MemorySize.Format(disk.Length)}; with --shrink what lies behind it is lost");
            disk.Resize(length);
            Talk.Line($"{disk.Name}: {MemorySize.Format(disk.Length)}");
            return ExitCode.Success;
        });
        return command;
    }
}
