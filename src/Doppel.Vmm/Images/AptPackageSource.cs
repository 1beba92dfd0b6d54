using System.Globalization;
using System.Text;

namespace Doppel.Vmm.Images;

/// <summary>
/// The package sources that the host's apt is configured with. Lists and downloads lie in a private directory: no
/// right of root is needed and the host's own apt state is not touched. apt checks the signatures.
/// </summary>
public sealed class AptPackageSource : IPackageSource
{
    private readonly string _directory;
    private readonly string _architecture;
    private string? _updateError;

    /// <summary>Uses a directory for apt's state; it can be deleted afterwards.</summary>
    /// <param name="directory">The directory.</param>
    /// <param name="architecture">Debian's name of the packages' architecture.</param>
    public AptPackageSource(string directory, string architecture = "amd64")
    {
        _directory = directory;
        _architecture = architecture;
    }

    /// <summary>True when the host has apt.</summary>
    public static bool IsAvailable => HostTool.Find("apt-get") is not null && HostTool.Find("apt-cache") is not null;

    /// <inheritdoc/>
    public string Name => "the host's apt sources";

    /// <inheritdoc/>
    public async Task OpenAsync(IProgress<ImageProgress> progress, CancellationToken cancel)
    {
        _ = Directory.CreateDirectory(Path.Combine(_directory, "state", "lists", "partial"));
        _ = Directory.CreateDirectory(Path.Combine(_directory, "cache", "archives", "partial"));
        await File.WriteAllTextAsync(Path.Combine(_directory, "status"), "", cancel).ConfigureAwait(false);
        const string Step = "reading package lists";
        progress.Report(new ImageProgress(Step, null));
        HostToolResult result = await HostTool.RunAsync("apt-get", [.. Options(), "update"], null, line => Report(progress, Step, line), cancel).ConfigureAwait(false);
        // apt carries on when one of several sources fails; whether that matters shows when a package is looked up.
        if (result.Errors.Length > 0)
            _updateError = result.FirstError;
    }

    /// <inheritdoc/>
    public async Task<DebPackage> FindAsync(string name, CancellationToken cancel)
    {
        var text = new StringBuilder();
        HostToolResult result = await HostTool.RunAsync("apt-cache", [.. Options(), "show", "--no-all-versions", name], null, l => text.AppendLine(l), cancel).ConfigureAwait(false);
        using var reader = new StringReader(text.ToString());
        DebPackage? package = result.ExitCode == 0
            ? DebControl.Read(reader).Select(DebPackage.FromControl).FirstOrDefault(p => p?.Name == name)
            : null;
        return package ?? throw new ImageException(
            ImageError.Network,
            $"the package {name} can't be had from the host's apt sources ({_updateError ?? result.FirstError}); check the network, or give another source with --mirror URL");
    }

    /// <inheritdoc/>
    public async Task<string> DownloadAsync(DebPackage package, string directory, IProgress<ImageProgress> progress, CancellationToken cancel)
    {
        string step = $"downloading {package.Name} {package.Version}";
        progress.Report(new ImageProgress(step, 0));
        string into = Path.Combine(directory, package.Name);
        _ = Directory.CreateDirectory(into);
        HostToolResult result = await HostTool.RunAsync("apt-get", [.. Options(), "download", $"{package.Name}={package.Version}"], into, line => Report(progress, step, line), cancel).ConfigureAwait(false);
        string? file = Directory.EnumerateFiles(into, "*.deb").FirstOrDefault();
        if (result.ExitCode != 0 || file is null)
            throw new ImageException(ImageError.Network, $"the package {package.Name} {package.Version} can't be downloaded ({result.FirstError}); check the network, or give another source with --mirror URL");
        await Checksum.VerifyAsync(file, package.Sha256, cancel).ConfigureAwait(false);
        return file;
    }

    private static void Report(IProgress<ImageProgress> progress, string step, string line)
    {
        // apt's status lines: dlstatus:ITEM:PERCENT:TEXT (README.progress-reporting of apt).
        string[] parts = line.Split(':', 4);
        if (parts.Length == 4 && parts[0] == "dlstatus" && double.TryParse(parts[2], CultureInfo.InvariantCulture, out double percent))
            progress.Report(new ImageProgress(step, (int)Math.Clamp(percent, 0, 100)));
    }

    private IEnumerable<string> Options()
    {
        string[] settings =
        [
            $"Dir::State={_directory}/state",
            $"Dir::State::status={_directory}/status",
            $"Dir::Cache={_directory}/cache",
            $"APT::Architecture={_architecture}",
            $"APT::Architectures::={_architecture}",
            // The unprivileged user that apt downloads as can't see the private directory.
            "APT::Sandbox::User=",
            "APT::Status-Fd=1",
            "Acquire::Languages=none",
            "Acquire::Retries=1",
            "Acquire::http::Timeout=30",
            "Acquire::https::Timeout=30",
            "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false",
            "Acquire::IndexTargets::deb::Contents-deb::DefaultEnabled=false",
        ];
        yield return "-q=2";
        foreach (string setting in settings)
        {
            yield return "-o";
            yield return setting;
        }
    }
}
