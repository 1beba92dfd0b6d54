using System.CommandLine;
using System.Globalization;
using System.Text.Json;
using Doppel.Devices.Storage.Images;
using Doppel.Devices.Storage.Qcow2;
using Doppel.Vmm;

namespace Doppel.Cli.Commands;

/// <summary>doppel disk info.</summary>
internal static class DiskInfoCommand
{
    internal static Command Create()
    {
        Argument<string> image = DiskCommand.Image();
        Option<string?> format = DiskCommand.FormatOption("--format", "Its format [default: by its beginning].");
        var chain = new Option<bool>("--chain") { Description = "Also show the images behind it." };
        var shared = new Option<bool>("--shared") { Description = "Look although a VM may be writing to it; what is shown may then not fit together." };
        Option<bool> json = DiskCommand.Json();
        var command = new ExampledCommand(
            "info",
            "Show an image's format, size, backing image and snapshots.",
            "doppel disk info disk.qcow2",
            "doppel disk info --chain --json vm1.qcow2")
        { image, format, chain, shared, json };
        command.SetAction(result =>
        {
            List<ImageInformation> images = [ImageInformation.Read(result.GetRequiredValue(image), DiskCommand.Format(result, format), result.GetValue(shared))];
            while (result.GetValue(chain) && images[^1].BackingPath is string next)
            {
                if (images.Count > DiskImages.MaximumDepth)
                    throw new DiskImageException($"{images[0].Path}: more than {DiskImages.MaximumDepth} images lie behind each other; they may form a circle");
                images.Add(ImageInformation.Read(next, images[^1].BackingFormat is string name ? DiskFormats.Find(name) : null, result.GetValue(shared)));
            }

            if (result.GetValue(json) && result.GetValue(chain))
                Console.Out.Write(JsonSerializer.Serialize(images, DiskJson.Default.ListImageInformation) + "\n");
            else if (result.GetValue(json))
                Console.Out.Write(JsonSerializer.Serialize(images[0], DiskJson.Default.ImageInformation) + "\n");
            else
                Console.Out.Write(string.Join("\n", images.Select(Text)));
            return ExitCode.Success;
        });
        return command;
    }

    internal static void WriteSnapshots(IReadOnlyList<Qcow2Snapshot> snapshots) => Table.Write(
        ["ID", "NAME", "CREATED", "DISK", "VM STATE"],
        snapshots.Select(s => (string[])[s.Id, s.Name, s.Created.ToLocalTime().ToString("yyyy-MM-dd HH:mm:ss", CultureInfo.InvariantCulture), MemorySize.Format(s.Length), s.StateLength == 0 ? "-" : MemorySize.Format(s.StateLength)]));

    private static string Text(ImageInformation image)
    {
        List<(string Name, string? Value)> lines =
        [
            ("image", image.Path),
            ("format", image.Version is int version ? $"{image.Format}, version {version}" : image.Format),
            ("disk", $"{MemorySize.Format(image.Length)} ({image.Length} bytes)"),
            ("on the host", image.HostBytes is ulong bytes ? string.Create(CultureInfo.InvariantCulture, $"{bytes / 1048576.0:0.0} MiB") : null),
            ("clusters", image.ClusterSize is int cluster ? $"{MemorySize.Format((ulong)cluster)}, compressed with {image.Compression}, counts of {image.RefcountBits} bits{(image.HasLazyRefcounts == true ? ", lazy" : "")}" : null),
            ("backing image", image.Backing is null ? null : $"{image.Backing}{(image.BackingFormat is null ? "" : $" ({image.BackingFormat})")}"),
            ("state", image.IsMarkedCorrupt == true ? "marked as damaged" : image.IsMarkedDirty == true ? "not closed; counted anew when it is next written" : null),
            ("snapshots", image.Snapshots is { Count: > 0 } snapshots ? string.Join(", ", snapshots.Select(s => s.Name)) : null),
        ];
        return string.Concat(lines.Where(l => l.Value is not null).Select(l => $"{l.Name + ":",-15}{l.Value}\n"));
    }
}
