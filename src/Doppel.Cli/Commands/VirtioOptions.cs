using System.CommandLine;
using Doppel.Vmm;

namespace Doppel.Cli.Commands;

/// <summary>--vsock and --virtio of doppel run.</summary>
internal static class VirtioOptions
{
    internal static Option<string?> CreateVsock() => new("--vsock")
    {
        Description = "Let programs of host and guest reach each other by vsock: the host's end is the Unix socket PATH.",
        HelpName = VsockSpec.Choices,
    };

    internal static Option<string> CreateTransport()
    {
        var option = new Option<string>("--virtio") { Description = "Where the guest finds virtio devices: pci or mmio.", HelpName = "TRANSPORT", DefaultValueFactory = _ => "pci" };
        option.CompletionSources.Add("pci", "mmio");
        return option;
    }

    /// <exception cref="CliException">The value is wrong.</exception>
    internal static VsockSpec? ReadVsock(string? text) => text is null ? null
        : VsockSpec.TryParse(text, out VsockSpec? vsock) ? vsock with { Path = Path.GetFullPath(vsock.Path) }
        : throw new CliException(ExitCode.Usage, $"--vsock {text}: {VsockSpec.Choices} would be right, PATH at most {VsockSpec.LongestPath} bytes, N at least 3");

    /// <exception cref="CliException">The value is wrong.</exception>
    internal static VirtioTransport ReadTransport(string text) => text switch
    {
        "pci" => VirtioTransport.Pci,
        "mmio" => VirtioTransport.Mmio,
        _ => throw new CliException(ExitCode.Usage, $"--virtio {text}: pci or mmio would be right"),
    };
}
