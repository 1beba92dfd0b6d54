namespace Doppel.Machine.Cpu.System;

/// <summary>RDPMC. No model has performance counters (CPUID leaf 0Ah reports version 0).</summary>
public static class PerformanceCounters
{
    /// <summary>RDPMC: always #GP, since no counter number is valid; for user code without CR4.PCE that is the rule anyway.</summary>
    public static ulong Rdpmc(VirtualCpu cpu, uint index)
    {
        _ = index;
        throw cpu.GeneralProtection();
    }
}
