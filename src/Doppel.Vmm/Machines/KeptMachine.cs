namespace Doppel.Vmm.Machines;

/// <summary>A machine whose disk is kept from one run to the next: its own kernel, root disk and what the guest has written.</summary>
/// <param name="Name">Its name.</param>
/// <param name="Directory">Where its files are.</param>
/// <param name="Description">What is known of it.</param>
public sealed record KeptMachine(string Name, string Directory, KeptMachineDescription Description)
{
    internal const string KernelFile = "vmlinuz", InitrdFile = "initrd.img", BaseFile = "base.img", OverlayFile = "disk.qcow2", SeedFile = "seed.iso";

    /// <summary>Path of the kernel.</summary>
    public string KernelPath => Path.Combine(Directory, KernelFile);

    /// <summary>Path of the initial RAM disk, which need not exist.</summary>
    public string InitrdPath => Path.Combine(Directory, InitrdFile);

    /// <summary>Path of the root disk as the image had it; nobody writes to it.</summary>
    public string BasePath => Path.Combine(Directory, BaseFile);

    /// <summary>Path of the overlay with what the guest has written; made at the first run.</summary>
    public string OverlayPath => Path.Combine(Directory, OverlayFile);

    /// <summary>Path of the seed with the settings of the last run.</summary>
    public string SeedPath => Path.Combine(Directory, SeedFile);

    /// <summary>Bytes that the overlay takes.</summary>
    public long OverlaySize => new FileInfo(OverlayPath) is { Exists: true } file ? file.Length : 0;
}
