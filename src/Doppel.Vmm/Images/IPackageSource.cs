namespace Doppel.Vmm.Images;

/// <summary>Where Debian packages for amd64 come from.</summary>
public interface IPackageSource
{
    /// <summary>For messages, for example "apt" or the mirror's URL.</summary>
    string Name { get; }

    /// <summary>Fetches the package lists. Must be called first.</summary>
    /// <exception cref="ImageException">They can't be had.</exception>
    Task OpenAsync(IProgress<ImageProgress> progress, CancellationToken cancel);

    /// <summary>Finds a package.</summary>
    /// <exception cref="ImageException">There is none of this name.</exception>
    Task<DebPackage> FindAsync(string name, CancellationToken cancel);

    /// <summary>Downloads a package and checks its checksum.</summary>
    /// <returns>Path of the file in the directory.</returns>
    /// <exception cref="ImageException">It can't be had, or the checksum is wrong.</exception>
    Task<string> DownloadAsync(DebPackage package, string directory, IProgress<ImageProgress> progress, CancellationToken cancel);
}
