namespace Doppel.Vmm.Boot;

/// <summary>The kernel and initial RAM disk of a machine, read when they are first needed. One thread at a time.</summary>
/// <param name="spec">The machine.</param>
internal sealed class BootFiles(MachineSpec spec)
{
    private (IBootLoader Kernel, BootFile? Initrd)? _files;

    /// <summary>Reads them, the first time.</summary>
    /// <exception cref="BootException">One can't be loaded.</exception>
    internal (IBootLoader Kernel, BootFile? Initrd) Load() =>
        _files ??= (BootImage.Open(spec.Kernel), spec.Initrd is null ? null : BootFile.Read(spec.Initrd, "initial RAM disk"));
}
