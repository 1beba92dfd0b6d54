using System.CommandLine;
using System.Globalization;
using Doppel.Devices.Storage.Images;
using Doppel.Devices.Storage.Qcow2;
using Doppel.Vmm;
using Doppel.Vmm.Images;

namespace Doppel.Cli.Commands;

/// <summary>doppel disk: makes, shows, copies and mends disk images.</summary>
internal static class DiskCommand
{
    internal const string FormatNames = "raw, qcow2, vmdk, vhd, vhdx or nbd";

    internal static Command Create() => new("disk", "Make, show, copy and mend disk images.")
    {
        DiskCreateCommand.Create(),
        DiskInfoCommand.Create(),
        DiskConvertCommand.Create(),
        DiskResizeCommand.Create(),
        DiskCheckCommand.Create(),
        DiskSnapshotCommand.Create(),
        DiskOverlayCommands.CreateCommit(),
        DiskOverlayCommands.CreateRebase(),
    };

    internal static Argument<string> Image(string name = "image", string description = "The image's file.") => new(name) { Description = description };

    internal static Option<bool> Json() => new("--json") { Description = "Print JSON." };

    internal static Option<string?> FormatOption(string name, string description)
    {
        var option = new Option<string?>(name) { Description = description, HelpName = "FORMAT" };
        option.CompletionSources.Add("raw", "qcow2", "vmdk", "vhd", "vhdx");
        return option;
    }

    /// <summary>The format that an option names; null when it isn't given.</summary>
    internal static DiskFormat? Format(ParseResult result, Option<string?> option) => result.GetValue(option) is not string name
        ? null
        : DiskFormats.Find(name) ?? throw new CliException(ExitCode.Usage, $"{option.Name} {name}: {FormatNames} would be right");

    /// <summary>The format that the end of a file's name suggests; qcow2 when it suggests none.</summary>
    internal static DiskFormat FormatOfName(string path) => Path.GetExtension(path).ToLowerInvariant() switch
    {
        ".raw" or ".img" => DiskFormat.Raw,
        ".vmdk" => DiskFormat.Vmdk,
        ".vhd" or ".vpc" => DiskFormat.Vhd,
        ".vhdx" => DiskFormat.Vhdx,
        _ => DiskFormat.Qcow2,
    };

    internal static ulong Size(string what, string text) => MemorySize.TryParse(text, out ulong bytes)
        ? bytes
        : throw new CliException(ExitCode.Usage, $"{what} {(text.Length == 0 ? "\"\"" : text)}: a size such as 20G or 512M would be right");

    internal static Qcow2Compression Compression(ParseResult result, Option<string?> option) => result.GetValue(option) switch
    {
        null or "deflate" or "zlib" => Qcow2Compression.Deflate,
        "zstd" => Qcow2Compression.Zstandard,
        string other => throw new CliException(ExitCode.Usage, $"{option.Name} {other}: deflate or zstd would be right"),
    };

    internal static int? ClusterSize(ParseResult result, Option<string?> option)
    {
        if (result.GetValue(option) is not string text)
            return null;
        if (text.All(char.IsAsciiDigit) && int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out int bytes))
            return bytes;
        return (int)Math.Min(Size(option.Name, text), int.MaxValue);
    }

    /// <summary>Shows how far a copy is while it runs.</summary>
    internal static void WithProgress(string step, Action<Action<ulong, ulong>> copy)
    {
        using var line = new ProgressLine();
        copy((done, all) => line.Report(new ImageProgress(step, all == 0 ? 100 : (int)(done * 100 / all))));
    }
}
