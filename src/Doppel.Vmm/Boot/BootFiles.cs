using Doppel.Vmm.Firmware;

namespace Doppel.Vmm.Boot;

/// <summary>The firmware, kernel and initial RAM disk of a machine, in memory only while they are needed. One thread at a time.</summary>
/// <param name="spec">The machine.</param>
internal sealed class BootFiles(MachineSpec spec) : IDisposable
{
    private BootFile? _kernelFile;
    private MachineBoot? _files;
    private VariableStore? _variables;

    /// <summary>What a machine starts with whose saved state follows.</summary>
    /// <remarks>Firmware that was saved in the midst of its work still reads of the machine; a BIOS that isn't on this host is in the state.</remarks>
    internal MachineBoot LoadForState()
    {
        if (spec.Firmware == FirmwareKind.None)
            return MachineBoot.None;
        try
        {
            return Load() with { IsForState = true };
        }
        catch (BootException) when (spec.Firmware == FirmwareKind.Bios)
        {
            return MachineBoot.None;
        }
    }

    /// <summary>Reads them, unless they are still in memory.</summary>
    /// <exception cref="BootException">One can't be loaded.</exception>
    internal MachineBoot Load()
    {
        if (_files is { } files)
            return files;
        FirmwareFiles? firmware = FirmwareSearch.Read(spec);
        _kernelFile = spec.Kernel.Length == 0 && firmware is not null ? null : BootFile.Read(spec.Kernel, "kernel");
        _files = new MachineBoot
        {
            Kernel = _kernelFile is null ? null : BootImage.Recognise(_kernelFile),
            KernelFile = _kernelFile,
            Initrd = spec.Initrd is null ? null : BootFile.Read(spec.Initrd, "initial RAM disk"),
            Firmware = firmware,
            NetworkRoms = NetworkBootRoms.Read(spec),
            Variables = OpenVariables(),
        };
        return _files;
    }

    /// <summary>Closes what lives as long as the machine.</summary>
    public void Dispose()
    {
        Release();
        _variables?.Dispose();
        _variables = null;
    }

    // They outlive resets.
    private VariableStore? OpenVariables() =>
        spec.Firmware == FirmwareKind.Uefi ? _variables ??= new VariableStore(spec.FirmwareVariables, FirmwareSearch.ReadVariables()) : null;

    /// <summary>Gives their memory back; the next boot reads them again.</summary>
    internal void Release()
    {
        _kernelFile?.Dispose();
        _files?.Initrd?.Dispose();
        _kernelFile = null;
        _files = null;
    }
}
