namespace Doppel.Machine.Interrupts;

/// <summary>
/// Keeps the local APICs of a machine in place of this process: the host's kernel, beside which the vCPUs execute
/// (<see cref="ApicBus.HandOver"/>). Any thread.
/// </summary>
public interface IApicKeeper
{
    /// <summary>Sends a message to all local APICs that it means, or for lowest priority to one of them.</summary>
    /// <returns>True when one has accepted it.</returns>
    bool Send(in ApicMessage message);

    /// <summary>Says which level-triggered messages the IOAPIC can send: the ends of these interrupts are told to it.</summary>
    void SetLevelMessages(IReadOnlyList<ApicMessage> messages);

    /// <summary>Reads a local APIC; waits until its vCPU has left the guest.</summary>
    /// <param name="index">The vCPU's.</param>
    KeptApic Read(int index);

    /// <summary>Sets one. Its vCPU stands still.</summary>
    void Write(int index, KeptApic apic);
}
