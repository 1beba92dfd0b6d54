using System.CommandLine;
using Doppel.Vmm;

namespace Doppel.Cli.Commands;

/// <summary>--volume of doppel run.</summary>
internal static class VolumeOption
{
    internal static Option<string[]> Create() => new("--volume", "-v")
    {
        Description = $"Share a folder of the host with the guest: {VolumeSpec.Choices}; may be repeated.",
        HelpName = VolumeSpec.Choices,
        Arity = ArgumentArity.OneOrMore,
        AllowMultipleArgumentsPerToken = false,
    };

    /// <exception cref="CliException">A value is wrong.</exception>
    internal static IReadOnlyList<VolumeSpec> Read(string[]? values) => [.. (values ?? []).Select(Parse)];

    private static VolumeSpec Parse(string text) => VolumeSpec.TryParse(text, out VolumeSpec? volume)
        ? volume with { HostPath = Path.GetFullPath(volume.HostPath) }
        : throw new CliException(ExitCode.Usage, $"--volume {text}: {VolumeSpec.Choices} would be right, GUEST an absolute path other than / without blanks and colons");
}
