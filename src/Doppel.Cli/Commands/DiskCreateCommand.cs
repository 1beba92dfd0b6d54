using System.CommandLine;
using Doppel.Devices.Storage.Images;
using Doppel.Vmm;

namespace Doppel.Cli.Commands;

/// <summary>doppel disk create.</summary>
internal static class DiskCreateCommand
{
    internal static Command Create()
    {
        Argument<string> image = DiskCommand.Image(description: "The new image's file.");
        var size = new Argument<string?>("size") { Description = "Bytes of the disk: a number with K, M, G or T; MiB without [default: the backing image's].", Arity = ArgumentArity.ZeroOrOne };
        Option<string?> format = DiskCommand.FormatOption("--format", "raw or qcow2 [default: by the name's end, else qcow2].");
        var backing = new Option<string?>("--backing") { Description = "Make an overlay: what it doesn't have comes from this image, which stays as it is.", HelpName = "FILE" };
        Option<string?> backingFormat = DiskCommand.FormatOption("--backing-format", "The backing image's format [default: by its beginning].");
        var cluster = new Option<string?>("--cluster-size") { Description = "Bytes of a qcow2 cluster, 512 to 2M; without a letter, bytes [default: 64K].", HelpName = "SIZE" };
        var compression = new Option<string?>("--compression") { Description = "How clusters will be compressed: deflate or zstd [default: deflate].", HelpName = "NAME" };
        var version = new Option<int?>("--qcow2-version") { Description = "2 or 3 [default: 3].", HelpName = "N" };
        var lazy = new Option<bool>("--lazy-refcounts") { Description = "Write qcow2 counts only when the image is closed; after a kill they are made anew." };
        var reserve = new Option<bool>("--reserve") { Description = "Reserve all of a raw image's space at once." };
        var command = new ExampledCommand(
            "create",
            "Make an empty image, or an overlay of another.",
            "doppel disk create disk.qcow2 20G",
            "doppel disk create disk.raw 512M --reserve",
            "doppel disk create vm1.qcow2 --backing debian.qcow2")
        { image, size, format, backing, backingFormat, cluster, compression, version, lazy, reserve };
        command.SetAction(result =>
        {
            string path = result.GetRequiredValue(image);
            var options = new DiskCreateOptions
            {
                Format = DiskCommand.Format(result, format) ?? DiskCommand.FormatOfName(path),
                Length = result.GetValue(size) is string text ? DiskCommand.Size("the size", text) : null,
                Backing = result.GetValue(backing),
                BackingFormat = DiskCommand.Format(result, backingFormat),
                ClusterSize = DiskCommand.ClusterSize(result, cluster),
                Compression = DiskCommand.Compression(result, compression),
                Version = result.GetValue(version),
                HasLazyRefcounts = result.GetValue(lazy),
                IsReserved = result.GetValue(reserve),
            };
            if (options.Length is null && options.Backing is null)
                throw new CliException(ExitCode.Usage, $"{path}: a new image needs a size, for example 20G, or --backing FILE");
            DiskImages.Create(path, options);
            ImageInformation made = ImageInformation.Read(path, options.Format, isShared: false);
            Talk.Line($"{path}: {made.Format}, {MemorySize.Format(made.Length)}{(made.Backing is null ? "" : $", over {made.Backing}")}");
            return ExitCode.Success;
        });
        return command;
    }
}
