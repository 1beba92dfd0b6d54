namespace Doppel.Vmm.Images;

/// <summary>
/// The files of Debian's firmware packages: the host's own where it has the package, else copies in the user's cache, beside
/// that of images.
/// </summary>
public sealed class FirmwareCache
{
    private const string Share = "usr/share/";
    private readonly string _root;

    /// <summary>Opens a cache; nothing is created before it is needed.</summary>
    /// <param name="root">Its folder.</param>
    public FirmwareCache(string root) => _root = root;

    /// <summary>The user's cache.</summary>
    public static FirmwareCache ForUser() => new(Path.Combine(Path.GetDirectoryName(ImageStore.ForUser().Root)!, "firmware"));

    /// <summary>The package of a kind of firmware; null when it needs none.</summary>
    public static string? PackageOf(FirmwareKind kind) => kind switch
    {
        FirmwareKind.Bios => "seabios",
        FirmwareKind.Uefi => "ovmf",
        _ => null,
    };

    /// <summary>The folder of a kind's files; null when neither the host nor the cache has them.</summary>
    public string? Find(FirmwareKind kind)
    {
        (string folder, string file) = Sample(kind);
        return new[] { $"/{Share}{folder}", Path.Combine(_root, folder) }.FirstOrDefault(path => File.Exists(Path.Combine(path, file)));
    }

    /// <summary>Fetches a kind's package and keeps its files.</summary>
    /// <param name="kind">The kind.</param>
    /// <param name="createSource">Makes the package source; it is given a private directory that is deleted at the end.</param>
    /// <param name="progress">Told what is being done.</param>
    /// <param name="cancel">Stops; nothing is left behind.</param>
    /// <exception cref="ImageException">It can't be had; the message says what to do.</exception>
    public async Task PullAsync(FirmwareKind kind, Func<string, IPackageSource> createSource, IProgress<ImageProgress> progress, CancellationToken cancel)
    {
        ArgumentNullException.ThrowIfNull(createSource);
        ArgumentNullException.ThrowIfNull(progress);
        string name = PackageOf(kind) ?? throw new ArgumentOutOfRangeException(nameof(kind), kind, "a BIOS or UEFI has a package");
        (string folder, string sample) = Sample(kind);
        string work = Path.Combine(_root, $".{folder}.{Guid.NewGuid():N}"), files = Path.Combine(work, folder);
        try
        {
            _ = Directory.CreateDirectory(files);
            IPackageSource source = createSource(work);
            await source.OpenAsync(progress, cancel).ConfigureAwait(false);
            DebPackage package = await source.FindAsync(name, cancel).ConfigureAwait(false);
            string deb = await source.DownloadAsync(package, work, progress, cancel).ConfigureAwait(false);
            string prefix = $"{Share}{folder}/";
            _ = await DebArchive.ExtractManyAsync(
                deb, path => path.StartsWith(prefix, StringComparison.Ordinal) && path.IndexOf('/', prefix.Length) < 0 ? Path.Combine(files, path[prefix.Length..]) : null, cancel).ConfigureAwait(false);
            if (!File.Exists(Path.Combine(files, sample)))
                throw new ImageException(ImageError.Content, $"{Path.GetFileName(deb)}: the package has no {prefix}{sample}");
            // Whole, and in place of what another has put there meanwhile.
            string target = Path.Combine(_root, folder);
            if (Directory.Exists(target))
                Directory.Move(target, Path.Combine(work, "old"));
            Directory.Move(files, target);
        }
        finally
        {
            if (Directory.Exists(work))
                Directory.Delete(work, recursive: true);
        }
    }

    // The folder under /usr/share, and a file that tells that it is whole.
    private static (string Folder, string File) Sample(FirmwareKind kind) =>
        kind == FirmwareKind.Uefi ? ("OVMF", "OVMF_VARS_4M.fd") : ("seabios", "bios-256k.bin");
}
