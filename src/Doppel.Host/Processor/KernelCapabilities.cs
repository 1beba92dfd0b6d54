namespace Doppel.Host.Processor;

/// <summary>What the kernel says about the host's CPU beyond CPUID.</summary>
public static class KernelCapabilities
{
    private const ulong AuxiliaryHardwareCapabilities2 = 26;
    private const ulong CapabilityFsGsBase = 2;

    private const string ClockSource = "/sys/devices/system/clocksource/clocksource0/current_clocksource";

    private static readonly Lazy<bool> _keepsTimeByTsc = new(() => File.Exists(ClockSource) && File.ReadAllText(ClockSource).Trim() == "tsc");

    /// <summary>
    /// True when the kernel's own clock counts ticks of the TSC: it has found that it runs at one rate and is alike on every
    /// CPU. Any thread.
    /// </summary>
    public static bool KeepsTimeByTsc => _keepsTimeByTsc.Value;

    /// <summary>True when user code may use RDGSBASE and WRGSBASE (AT_HWCAP2; Linux 5.9 or later).</summary>
    public static bool HasFsGsBase => (LibC.GetAuxiliaryValue(AuxiliaryHardwareCapabilities2) & CapabilityFsGsBase) != 0;
}
