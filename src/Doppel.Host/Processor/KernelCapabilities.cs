namespace Doppel.Host.Processor;

/// <summary>What the kernel says about the host's CPU beyond CPUID.</summary>
public static class KernelCapabilities
{
    private const ulong AuxiliaryHardwareCapabilities2 = 26;
    private const ulong CapabilityFsGsBase = 2;

    /// <summary>True when user code may use RDGSBASE and WRGSBASE (AT_HWCAP2; Linux 5.9 or later).</summary>
    public static bool HasFsGsBase => (LibC.GetAuxiliaryValue(AuxiliaryHardwareCapabilities2) & CapabilityFsGsBase) != 0;
}
