namespace Doppel.Machine.Interrupts;

/// <summary>A wire from a device to an interrupt controller. Any thread.</summary>
public interface IInterruptLine
{
    /// <summary>Drives the wire; setting the level that it has is allowed and does nothing.</summary>
    void Set(bool asserted);
}

/// <summary>Where a device sends message-signalled interrupts (PCI MSI, MSI-X, IOAPIC). Any thread.</summary>
public interface IMessageSink
{
    /// <summary>Delivers a message as an MSI: address FEEx_xxxxh with the destination, data with the vector and mode (Intel SDM vol. 3, 11.11).</summary>
    void Deliver(ulong address, uint data);
}
