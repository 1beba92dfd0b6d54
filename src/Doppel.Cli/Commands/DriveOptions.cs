using System.CommandLine;
using Doppel.Vmm;

namespace Doppel.Cli.Commands;

/// <summary>The options for drives whose media can be changed.</summary>
internal static class DriveOptions
{
    internal static Option<string[]> CreateCdrom() => new("--cdrom")
    {
        Description = "A CD drive with the disc image FILE, or none for an empty drive; may be repeated. \"doppel insert\" and \"doppel eject\" change the disc.",
        HelpName = "FILE[,if=ahci]",
        Arity = ArgumentArity.OneOrMore,
        AllowMultipleArgumentsPerToken = false,
    };

    internal static Option<string[]> CreateFloppy() => new("--floppy")
    {
        Description = "A floppy drive with the diskette image FILE, or none for an empty drive; may be repeated once.",
        HelpName = "FILE[,ro]",
        Arity = ArgumentArity.OneOrMore,
        AllowMultipleArgumentsPerToken = false,
    };

    internal static IEnumerable<DiskSpec> ReadFloppies(string[]? texts) => (texts ?? []).Select(text =>
    {
        const string ReadOnly = ",ro";
        bool isReadOnly = text.EndsWith(ReadOnly, StringComparison.Ordinal);
        string path = isReadOnly ? text[..^ReadOnly.Length] : text;
        return path.Length == 0
            ? throw new CliException(ExitCode.Usage, $"--floppy \"{text}\": a path, or none, would be right")
            : DiskSpec.ForFloppy(path == "none" ? "" : path, isReadOnly);
    });

    internal static IEnumerable<DiskSpec> ReadCdroms(string[]? texts) => (texts ?? []).Select(text =>
    {
        (string path, DiskInterface controller) = (text, DiskInterface.Ide);
        foreach ((string property, DiskInterface named) in ((string, DiskInterface)[])[(",if=ide", DiskInterface.Ide), (",if=ahci", DiskInterface.Ahci), (",if=sata", DiskInterface.Ahci)])
        {
            if (text.EndsWith(property, StringComparison.Ordinal))
                (path, controller) = (text[..^property.Length], named);
        }

        return path.Length == 0
            ? throw new CliException(ExitCode.Usage, $"--cdrom \"{text}\": a path, or none, would be right")
            : DiskSpec.ForCdrom(path == "none" ? "" : path, controller);
    });
}
