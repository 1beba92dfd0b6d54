using System.CommandLine;
using Doppel.Devices.Storage.Images;
using Doppel.Devices.Storage.Qcow2;

namespace Doppel.Cli.Commands;

/// <summary>doppel disk convert.</summary>
internal static class DiskConvertCommand
{
    internal static Command Create()
    {
        Argument<string> source = DiskCommand.Image("source", "The image to copy, with all that is behind it; or an NBD server's address.");
        Argument<string> target = DiskCommand.Image("target", "The new image's file.");
        Option<string?> from = DiskCommand.FormatOption("--from", "The source's format [default: by its beginning].");
        Option<string?> format = DiskCommand.FormatOption("--format", "The target's format: raw or qcow2 [default: by the name's end, else qcow2].");
        var compress = new Option<bool>("--compress") { Description = "Compress the target's clusters (qcow2)." };
        var compression = new Option<string?>("--compression") { Description = "How: deflate or zstd [default: deflate].", HelpName = "NAME" };
        var cluster = new Option<string?>("--cluster-size") { Description = "Bytes of a qcow2 cluster, 512 to 2M; without a letter, bytes [default: 64K].", HelpName = "SIZE" };
        var snapshot = new Option<string?>("--snapshot") { Description = "Copy the disk as an internal snapshot has it.", HelpName = "NAME" };
        var shared = new Option<bool>("--shared") { Description = "Copy although a VM may be writing to the source; the copy may then not fit together." };
        var command = new ExampledCommand(
            "convert",
            "Copy a disk to a new image, of another format if wanted; zeros take no space there.",
            "doppel disk convert disk.vmdk disk.qcow2",
            "doppel disk convert disk.qcow2 disk.raw",
            "doppel disk convert --compress --compression zstd disk.raw small.qcow2",
            "doppel disk convert --snapshot clean disk.qcow2 clean.qcow2",
            "doppel disk convert nbd://127.0.0.1:10809/export disk.qcow2")
        { source, target, from, format, compress, compression, cluster, snapshot, shared };
        command.SetAction((result, cancel) =>
        {
            string path = result.GetRequiredValue(target);
            var options = new DiskCreateOptions
            {
                Format = DiskCommand.Format(result, format) ?? DiskCommand.FormatOfName(path),
                ClusterSize = DiskCommand.ClusterSize(result, cluster),
                Compression = DiskCommand.Compression(result, compression),
            };
            if (result.GetValue(compress) && options.Format != DiskFormat.Qcow2)
                throw new CliException(ExitCode.Usage, $"--compress: images of the format {options.Format.GetName()} aren't compressed; --format qcow2 would be right");
            using DiskImage disk = DiskImages.Open(
                result.GetRequiredValue(source),
                new DiskOpenOptions { Format = DiskCommand.Format(result, from), IsReadOnly = true, IsShared = result.GetValue(shared) });
            if (result.GetValue(snapshot) is string name)
            {
                if (disk is not Qcow2Image qcow2)
                    throw new CliException(ExitCode.Usage, $"--snapshot {name}: {disk.Name} is a {disk.Format.GetName()} image; only qcow2 has snapshots");
                qcow2.ShowSnapshot(name);
            }

            Copy(disk, path, options with { Length = disk.Length }, result.GetValue(compress), cancel);
            return Task.FromResult(ExitCode.Success);
        });
        return command;
    }

    private static void Copy(DiskImage source, string path, DiskCreateOptions options, bool isCompressed, CancellationToken cancel)
    {
        DiskImages.Create(path, options);
        try
        {
            using DiskImage target = DiskImages.Open(path, new DiskOpenOptions { Format = options.Format });
            DiskCommand.WithProgress($"copying {source.Name}", report =>
            {
                void Progress(ulong done) => report(done, source.Length);
                if (isCompressed)
                    DiskConverter.CopyCompressed(source, (Qcow2Image)target, Progress, cancel);
                else
                    DiskConverter.Copy(source, target, Progress, cancel);
            });
        }
        catch
        {
            File.Delete(path);
            throw;
        }
    }
}
