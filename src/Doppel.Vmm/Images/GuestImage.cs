namespace Doppel.Vmm.Images;

/// <summary>A kernel and initial RAM disk in the cache.</summary>
public sealed class GuestImage
{
    /// <summary>File name of the kernel.</summary>
    public const string KernelFile = "vmlinuz";

    /// <summary>File name of the initial RAM disk.</summary>
    public const string InitrdFile = "initrd.img";

    internal GuestImage(string directory, ImageManifest manifest)
    {
        Directory = directory;
        Manifest = manifest;
    }

    /// <summary>Where the files are.</summary>
    public string Directory { get; }

    /// <summary>What it is made of.</summary>
    public ImageManifest Manifest { get; }

    /// <summary>Name, for example "debian".</summary>
    public string Name => Manifest.Name;

    /// <summary>Path of the kernel.</summary>
    public string KernelPath => Path.Combine(Directory, KernelFile);

    /// <summary>Path of the initial RAM disk.</summary>
    public string InitrdPath => Path.Combine(Directory, InitrdFile);

    /// <summary>Bytes of all files.</summary>
    public long Size => Manifest.Files.Sum(f => f.Size);
}
