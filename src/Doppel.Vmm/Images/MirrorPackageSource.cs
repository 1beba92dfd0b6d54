using System.IO.Compression;
using System.Security.Cryptography;
using System.Text;

namespace Doppel.Vmm.Images;

/// <summary>
/// A Debian mirror, read without apt: InRelease, the package list of main for amd64, packages; every step is checked by
/// SHA-256 from the one before. InRelease's signature is checked with gpgv and Debian's keyring.
/// </summary>
public sealed class MirrorPackageSource : IPackageSource
{
    private const string Keyring = "/usr/share/keyrings/debian-archive-keyring.gpg";
    private const string ListPath = "main/binary-amd64/Packages.gz";
    private readonly string _suite;
    private readonly bool _requireSignature;
    private readonly MirrorReader _reader;
    private readonly Dictionary<string, DebPackage> _packages = new(StringComparer.Ordinal);

    /// <summary>Reads a mirror.</summary>
    /// <param name="mirror">URL of the mirror's root: http, https or file.</param>
    /// <param name="suite">Suite or code name, for example "bookworm".</param>
    /// <param name="requireSignature">False accepts a mirror whose signature can't be checked.</param>
    /// <exception cref="ImageException">The URL is not one of those.</exception>
    public MirrorPackageSource(string mirror, string suite, bool requireSignature)
    {
        _reader = new MirrorReader(mirror);
        _suite = suite;
        _requireSignature = requireSignature;
    }

    /// <inheritdoc/>
    public string Name => _reader.Root.ToString();

    /// <inheritdoc/>
    public async Task OpenAsync(IProgress<ImageProgress> progress, CancellationToken cancel)
    {
        byte[] release = await _reader.ReadAsync($"dists/{_suite}/InRelease", "reading the mirror's release file", progress, cancel).ConfigureAwait(false);
        if (_requireSignature)
            await CheckSignatureAsync(release, cancel).ConfigureAwait(false);
        string expected = FindListHash(Encoding.UTF8.GetString(release));
        byte[] list = await _reader.ReadAsync($"dists/{_suite}/{ListPath}", "reading package lists", progress, cancel).ConfigureAwait(false);
        string actual = Convert.ToHexStringLower(SHA256.HashData(list));
        if (!actual.Equals(expected, StringComparison.OrdinalIgnoreCase))
            throw new ImageException(ImageError.Checksum, $"{Name}: the SHA-256 of {ListPath} is {actual}, the release file says {expected}; try again, or another mirror");
        try
        {
            using var reader = new StreamReader(new GZipStream(new MemoryStream(list), CompressionMode.Decompress));
            foreach (DebPackage package in DebControl.Read(reader).Select(DebPackage.FromControl).OfType<DebPackage>())
                _packages[package.Name] = package;
        }
        catch (InvalidDataException e)
        {
            throw new ImageException(ImageError.Content, $"{Name}: {ListPath} is not a gzip file: {e.Message}", e);
        }
    }

    /// <inheritdoc/>
    public Task<DebPackage> FindAsync(string name, CancellationToken cancel) =>
        _packages.TryGetValue(name, out DebPackage? package)
            ? Task.FromResult(package)
            : Task.FromException<DebPackage>(new ImageException(ImageError.Network, $"{Name}: the suite {_suite} has no package {name}; give another with --suite NAME"));

    /// <inheritdoc/>
    public async Task<string> DownloadAsync(DebPackage package, string directory, IProgress<ImageProgress> progress, CancellationToken cancel)
    {
        byte[] content = await _reader.ReadAsync(package.FileName, $"downloading {package.Name} {package.Version}", progress, cancel).ConfigureAwait(false);
        string path = Path.Combine(directory, package.Name + ".deb");
        await File.WriteAllBytesAsync(path, content, cancel).ConfigureAwait(false);
        await Checksum.VerifyAsync(path, package.Sha256, cancel).ConfigureAwait(false);
        return path;
    }

    private string FindListHash(string release)
    {
        using var reader = new StringReader(release);
        foreach (Dictionary<string, string> paragraph in DebControl.Read(reader))
        {
            if (!paragraph.TryGetValue("SHA256", out string? table))
                continue;
            foreach (string line in table.Split('\n'))
            {
                string[] parts = line.Split(' ', StringSplitOptions.RemoveEmptyEntries);
                if (parts.Length == 3 && parts[2] == ListPath)
                    return parts[0];
            }
        }

        throw new ImageException(ImageError.Content, $"{Name}: the release file of {_suite} lists no {ListPath}");
    }

    private async Task CheckSignatureAsync(byte[] release, CancellationToken cancel)
    {
        if (HostTool.Find("gpgv") is not string gpgv || !File.Exists(Keyring))
            throw new ImageException(ImageError.Host, $"{Name}: the mirror's signature can't be checked without gpgv and {Keyring} (packages gpgv and debian-archive-keyring); --unsigned does without the check");
        using var input = new MemoryStream(release);
        HostToolResult result = await HostTool.FilterAsync(gpgv, ["--keyring", Keyring, "-"], input, Stream.Null, cancel).ConfigureAwait(false);
        if (result.ExitCode != 0)
            throw new ImageException(ImageError.Checksum, $"{Name}: the release file of {_suite} has no valid signature ({result.FirstError}); --unsigned does without the check");
    }
}
