using System.CommandLine;
using System.Text.Json;
using Doppel.Vmm.Images;

namespace Doppel.Cli.Commands;

/// <summary>doppel image pull, build, ls, inspect, rm.</summary>
internal static class ImageCommand
{
    internal static Command Create() => new("image", "Obtain and keep guest images.") { CreatePull(), ImageBuildCommand.Create(), CreateList(), CreateInspect(), CreateRemove() };

    /// <summary>Makes the default guest with progress on standard error.</summary>
    internal static GuestImage Pull(string? mirror, string? suite, bool isUnsigned, CancellationToken cancel)
    {
        if (mirror is null && !AptPackageSource.IsAvailable)
            throw new ImageException(ImageError.Host, "this host has no apt; give a Debian mirror with --mirror URL");
        var builder = new BusyboxImageBuilder(ImageStore.ForUser());
        using var progress = new ProgressLine();
        return builder.BuildAsync(
            directory => mirror is null
                ? new AptPackageSource(Path.Combine(directory, "apt"))
                : new MirrorPackageSource(mirror, suite ?? HostSuite() ?? "stable", !isUnsigned),
            progress,
            cancel).GetAwaiter().GetResult();
    }

    private static Command CreatePull()
    {
        var name = new Argument<string>("name") { Description = "The image: busybox." };
        _ = name.AcceptOnlyFromAmong(BusyboxImageBuilder.ImageName);
        var mirror = new Option<string?>("--mirror") { Description = "A Debian mirror instead of the host's own package sources.", HelpName = "URL" };
        var suite = new Option<string?>("--suite") { Description = "The suite on that mirror [default: the host's own if it is Debian, else stable].", HelpName = "NAME" };
        var unsigned = new Option<bool>("--unsigned") { Description = "Accept a mirror whose signature can't be checked." };
        var json = JsonOption();
        var command = new Command("pull", "Make the quick guest, Debian's kernel with busybox, from Debian's packages.") { name, mirror, suite, unsigned, json };
        command.SetAction((result, cancel) =>
        {
            if (result.GetValue(mirror) is null && (result.GetValue(suite) is not null || result.GetValue(unsigned)))
                throw new CliException(ExitCode.Usage, "--suite and --unsigned need --mirror URL");
            GuestImage image = Pull(result.GetValue(mirror), result.GetValue(suite), result.GetValue(unsigned), cancel);
            if (result.GetValue(json))
                Console.Out.Write(JsonSerializer.Serialize(image.Manifest, ImageJson.Default.ImageManifest) + "\n");
            else
                Talk.Line($"{image.Name}: Linux {image.Manifest.KernelVersion} in {image.Directory}");
            return Task.FromResult(ExitCode.Success);
        });
        return command;
    }

    private static Command CreateList()
    {
        Option<bool> json = JsonOption();
        var command = new Command("ls", "List the images in the cache.") { json };
        command.SetAction(result =>
        {
            IReadOnlyList<GuestImage> images = ImageStore.ForUser().List();
            if (result.GetValue(json))
            {
                IReadOnlyList<ImageManifest> manifests = [.. images.Select(i => i.Manifest)];
                Console.Out.Write(JsonSerializer.Serialize(manifests, ImageJson.Default.IReadOnlyListImageManifest) + "\n");
                return ExitCode.Success;
            }

            Table.Write(["NAME", "KERNEL", "SIZE", "CREATED", "DIRECTORY"], images.Select(i => (string[])[i.Name, i.Manifest.KernelVersion, $"{i.Size / 1048576.0:0.0} MiB", $"{i.Manifest.Created.ToLocalTime():yyyy-MM-dd HH:mm}", i.Directory]));
            return ExitCode.Success;
        });
        return command;
    }

    private static ExampledCommand CreateInspect()
    {
        Argument<string> name = NameArgument();
        var command = new ExampledCommand("inspect", "Show an image's manifest as JSON: files, kernel, packages.", "doppel image inspect debian") { name };
        command.SetAction(result =>
        {
            string given = result.GetRequiredValue(name);
            ImageStore store = ImageStore.ForUser();
            GuestImage image = store.Find(given) ?? throw new CliException(ExitCode.Image, $"there is no image \"{given}\" in {store.Root}; \"doppel image ls\" lists them");
            Console.Out.Write(JsonSerializer.Serialize(image.Manifest, ImageJson.Default.ImageManifest) + "\n");
            return ExitCode.Success;
        });
        return command;
    }

    private static Argument<string> NameArgument()
    {
        var name = new Argument<string>("name") { Description = "The image.", HelpName = "name" };
        name.CompletionSources.Add(_ => ImageStore.ForUser().List().Select(i => i.Name));
        return name;
    }

    private static Command CreateRemove()
    {
        Argument<string> name = NameArgument();
        var command = new Command("rm", "Remove an image from the cache.") { name };
        command.SetAction(result =>
        {
            string given = result.GetRequiredValue(name);
            ImageStore store = ImageStore.ForUser();
            if (!store.Remove(given))
                throw new CliException(ExitCode.Image, $"there is no image \"{given}\" in {store.Root}; \"doppel image ls\" lists them");
            return ExitCode.Success;
        });
        return command;
    }

    private static Option<bool> JsonOption() => new("--json") { Description = "Print JSON." };

    private static string? HostSuite()
    {
        try
        {
            var fields = File.ReadLines("/etc/os-release").Select(l => l.Split('=', 2)).Where(p => p.Length == 2).ToDictionary(p => p[0], p => p[1].Trim('"'));
            return fields.GetValueOrDefault("ID") == "debian" ? fields.GetValueOrDefault("VERSION_CODENAME") : null;
        }
        catch (IOException)
        {
            return null;
        }
    }
}
