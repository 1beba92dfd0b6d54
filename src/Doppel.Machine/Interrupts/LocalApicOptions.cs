namespace Doppel.Machine.Interrupts;

/// <summary>What a local APIC has; must agree with CPUID.</summary>
public sealed record LocalApicOptions
{
    /// <summary>x2APIC mode can be entered (CPUID.1:ECX[21]).</summary>
    public bool HasX2Apic { get; init; } = true;

    /// <summary>The timer has TSC deadline mode (CPUID.1:ECX[24]).</summary>
    public bool HasTscDeadline { get; init; } = true;

    /// <summary>MAXPHYADDR: bits of IA32_APIC_BASE above it are reserved.</summary>
    public int PhysicalAddressBits { get; init; } = 40;
}
