namespace Doppel.Machine.Interrupts;

/// <summary>The clock that drives every local APIC's timer.</summary>
public static class LocalApicClock
{
    /// <summary>
    /// Hertz before the divider. CPUID.15h announces it as the core crystal clock, and Linux then takes the timer's rate
    /// from there without calibration, so the two must be one value (Intel SDM vol. 3, 11.5.4).
    /// </summary>
    public const ulong Frequency = 1_000_000_000;
}
