namespace Doppel.Machine.Interrupts;

/// <summary>Hears the EOI messages of local APICs for level-triggered interrupts: an IOAPIC. Any thread.</summary>
public interface IEoiListener
{
    /// <summary>A local APIC has ended a level-triggered interrupt with this vector.</summary>
    void EndOfInterrupt(byte vector);

    /// <summary>Tells the bus which level-triggered messages it can send, for who keeps the local APICs.</summary>
    void ShowLevelMessages();
}
