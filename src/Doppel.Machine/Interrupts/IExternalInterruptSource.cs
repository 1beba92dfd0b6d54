namespace Doppel.Machine.Interrupts;

/// <summary>
/// The interrupt controller behind an ExtINT input: the pair of 8259s. Called without any lock of the local APIC, from
/// the vCPU's thread.
/// </summary>
public interface IExternalInterruptSource
{
    /// <summary>Level of the INTR output.</summary>
    bool IsAsserted { get; }

    /// <summary>The interrupt acknowledge cycle: returns the vector, 0 to 255 (the spurious one if the request has gone).</summary>
    int Acknowledge();
}
