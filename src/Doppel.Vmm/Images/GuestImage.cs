namespace Doppel.Vmm.Images;

/// <summary>A guest in the cache: a kernel, and an initial RAM disk, a root disk or both.</summary>
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

    /// <summary>Name, for example "busybox".</summary>
    public string Name => Manifest.Name;

    /// <summary>Path of the kernel.</summary>
    public string KernelPath => Path.Combine(Directory, KernelFile);

    /// <summary>Path of the initial RAM disk.</summary>
    public string InitrdPath => Path.Combine(Directory, InitrdFile);

    /// <summary>Path of the root disk, a raw image that nobody writes to; null for a guest that runs in its initial RAM disk.</summary>
    public string? DiskPath => Manifest.Disk is string name ? Path.Combine(Directory, name) : null;

    /// <summary>Bytes of all files; those of a disk's holes too.</summary>
    public long Size => Manifest.Files.Sum(f => f.Size);
}
