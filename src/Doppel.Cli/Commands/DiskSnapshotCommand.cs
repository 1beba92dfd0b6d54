using System.CommandLine;
using System.Text.Json;
using Doppel.Devices.Storage.Images;
using Doppel.Devices.Storage.Qcow2;

namespace Doppel.Cli.Commands;

/// <summary>doppel disk snapshot: internal snapshots of qcow2 images.</summary>
internal static class DiskSnapshotCommand
{
    private static readonly DiskOpenOptions Options = new() { Format = DiskFormat.Qcow2 };

    internal static Command Create() => new("snapshot", "Keep the state of a qcow2 image's disk inside the image.")
    {
        CreateCreate(),
        CreateList(),
        CreateApply(),
        CreateRemove(),
    };

    private static Argument<string> Name() => new("name") { Description = "The snapshot's name, or its ID." };

    private static ExampledCommand CreateCreate()
    {
        Argument<string> image = DiskCommand.Image();
        var name = new Argument<string>("name") { Description = "What to call it." };
        var command = new ExampledCommand("create", "Keep the disk as it is now.", "doppel disk snapshot create disk.qcow2 clean") { image, name };
        command.SetAction(result => With(result.GetRequiredValue(image), disk =>
        {
            if (result.GetRequiredValue(name).Length == 0)
                throw new CliException(ExitCode.Usage, "the snapshot's name \"\": at least one letter would be right");
            Qcow2Snapshot made = disk.CreateSnapshot(result.GetRequiredValue(name), DateTimeOffset.UtcNow);
            Talk.Line($"{disk.Name}: snapshot {made.Id}, {made.Name}");
        }));
        return command;
    }

    private static ExampledCommand CreateList()
    {
        Argument<string> image = DiskCommand.Image();
        Option<bool> json = DiskCommand.Json();
        var command = new ExampledCommand("ls", "List the snapshots.", "doppel disk snapshot ls disk.qcow2") { image, json };
        command.SetAction(result =>
        {
            using DiskImage disk = DiskImages.Open(result.GetRequiredValue(image), Options with { IsReadOnly = true, IsWithoutBacking = true });
            IReadOnlyList<Qcow2Snapshot> snapshots = ((Qcow2Image)disk).Snapshots;
            if (result.GetValue(json))
                Console.Out.Write(JsonSerializer.Serialize(snapshots, DiskJson.Default.IReadOnlyListQcow2Snapshot) + "\n");
            else
                DiskInfoCommand.WriteSnapshots(snapshots);
            return ExitCode.Success;
        });
        return command;
    }

    private static ExampledCommand CreateApply()
    {
        Argument<string> image = DiskCommand.Image();
        Argument<string> name = Name();
        var command = new ExampledCommand("apply", "Make the disk what it was then; what it is now is lost.", "doppel disk snapshot apply disk.qcow2 clean") { image, name };
        command.SetAction(result => With(result.GetRequiredValue(image), disk => disk.ApplySnapshot(result.GetRequiredValue(name))));
        return command;
    }

    private static ExampledCommand CreateRemove()
    {
        Argument<string> image = DiskCommand.Image();
        Argument<string> name = Name();
        var command = new ExampledCommand("rm", "Delete a snapshot.", "doppel disk snapshot rm disk.qcow2 clean") { image, name };
        command.SetAction(result => With(result.GetRequiredValue(image), disk => disk.DeleteSnapshot(result.GetRequiredValue(name))));
        return command;
    }

    private static int With(string path, Action<Qcow2Image> action)
    {
        using var disk = (Qcow2Image)DiskImages.Open(path, Options with { IsWithoutBacking = true });
        action(disk);
        disk.Flush();
        return ExitCode.Success;
    }
}
