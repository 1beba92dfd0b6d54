namespace Doppel.Vmm.Boot;

/// <summary>The kernel and initial RAM disk of a machine, in memory only while they are needed. One thread at a time.</summary>
/// <param name="spec">The machine.</param>
internal sealed class BootFiles(MachineSpec spec)
{
    private BootFile? _kernelFile;
    private (IBootLoader Kernel, BootFile? Initrd)? _files;

    /// <summary>Reads them, unless they are still in memory.</summary>
    /// <exception cref="BootException">One can't be loaded.</exception>
    internal (IBootLoader Kernel, BootFile? Initrd) Load()
    {
        if (_files is { } files)
            return files;
        _kernelFile = BootFile.Read(spec.Kernel, "kernel");
        _files = (BootImage.Recognise(_kernelFile), spec.Initrd is null ? null : BootFile.Read(spec.Initrd, "initial RAM disk"));
        return _files.Value;
    }

    /// <summary>Gives their memory back; the next boot reads them again.</summary>
    internal void Release()
    {
        _kernelFile?.Dispose();
        _files?.Initrd?.Dispose();
        _kernelFile = null;
        _files = null;
    }
}
