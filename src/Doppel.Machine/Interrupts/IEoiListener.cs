namespace Doppel.Machine.Interrupts;

/// <summary>Hears the EOI messages of local APICs for level-triggered interrupts: an IOAPIC. Any thread.</summary>
public interface IEoiListener
{
    /// <summary>A local APIC has ended a level-triggered interrupt with this vector.</summary>
    void EndOfInterrupt(byte vector);
}
