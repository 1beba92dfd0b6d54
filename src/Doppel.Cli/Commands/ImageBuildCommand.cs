using System.CommandLine;
using System.Text.Json;
using Doppel.Vmm;
using Doppel.Vmm.Images;

namespace Doppel.Cli.Commands;

/// <summary>doppel image build.</summary>
internal static class ImageBuildCommand
{
    internal static Command Create()
    {
        var distribution = new Argument<string>("distribution") { Description = "What to build: debian." };
        _ = distribution.AcceptOnlyFromAmong("debian");
        var name = new Option<string>("--name") { Description = "Name of the image.", HelpName = "NAME", DefaultValueFactory = _ => DebianImageBuilder.ImageName };
        var suite = new Option<string>("--suite") { Description = "Suite or code name.", HelpName = "NAME", DefaultValueFactory = _ => "bookworm" };
        var packages = new Option<string?>("--packages") { Description = "More packages, separated by commas.", HelpName = "LIST" };
        var size = new Option<string>("--size") { Description = "Size of the root disk; it takes only the space that is used.", HelpName = "SIZE", DefaultValueFactory = _ => "8G" };
        var mirror = new Option<string?>("--mirror") { Description = "A Debian mirror instead of deb.debian.org and security.debian.org.", HelpName = "URL" };
        var unsigned = new Option<bool>("--unsigned") { Description = "Accept a mirror whose signature can't be checked." };
        var json = new Option<bool>("--json") { Description = "Print JSON." };
        var command = new ExampledCommand(
            "build",
            "Make a whole system with systemd, as \"doppel run debian\" boots it; needs mmdebstrap and e2fsprogs, and without root fakeroot and uidmap.",
            "doppel image build debian",
            "doppel image build debian --name tools --packages git,build-essential --size 20G",
            "doppel image build debian --suite trixie --name trixie --mirror http://deb.debian.org/debian")
        { distribution, name, suite, packages, size, mirror, unsigned, json };
        command.SetAction(result =>
        {
            string sizeText = result.GetRequiredValue(size);
            if (!MemorySize.TryParse(sizeText, out ulong bytes) || bytes > long.MaxValue)
                throw new CliException(ExitCode.Usage, $"--size {sizeText}: a size such as 8G would be right");
            if (result.GetValue(unsigned) && result.GetValue(mirror) is null)
                throw new CliException(ExitCode.Usage, "--unsigned needs --mirror URL");
            GuestImage image = Build(new DebianImageOptions
            {
                Name = result.GetRequiredValue(name),
                Suite = result.GetRequiredValue(suite),
                Packages = result.GetValue(packages)?.Split(',', StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries) ?? [],
                Size = (long)bytes,
                Mirror = result.GetValue(mirror),
                RequiresSignature = !result.GetValue(unsigned),
            });
            if (result.GetValue(json))
                Console.Out.Write(JsonSerializer.Serialize(image.Manifest, ImageJson.Default.ImageManifest) + "\n");
            else
                Talk.Line($"{image.Name}: Linux {image.Manifest.KernelVersion}, {image.Manifest.Packages.Count} packages, in {image.Directory}");
            return ExitCode.Success;
        });
        return command;
    }

    /// <summary>Makes the system with progress on standard error; SIGINT and SIGTERM leave nothing behind.</summary>
    internal static GuestImage Build(DebianImageOptions options)
    {
        using var interruption = new Interruption();
        using var progress = new ProgressLine();
        try
        {
            return new DebianImageBuilder(ImageStore.ForUser()).BuildAsync(options, progress, interruption.Token).GetAwaiter().GetResult();
        }
        catch (OperationCanceledException)
        {
            throw new CliException(interruption.ExitCode, "interrupted; nothing was left behind");
        }
    }
}
