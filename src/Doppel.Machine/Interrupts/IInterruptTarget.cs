using Doppel.Machine.Bus;
using Doppel.Machine.Cpu;

namespace Doppel.Machine.Interrupts;

/// <summary>What a local APIC needs of its vCPU. Any thread.</summary>
public interface IInterruptTarget
{
    /// <summary>Added to the clock's TSC to give the guest's TSC, in which the TSC deadline is expressed.</summary>
    ulong TscOffset { get; }

    /// <summary>Sets pending events and wakes the vCPU if it is halted.</summary>
    void Signal(PendingEvents events);

    /// <summary>Clears pending events.</summary>
    void ClearSignal(PendingEvents events);

    /// <summary>Makes a page of guest-physical addresses lead this vCPU (and no other) to the region; null removes it.</summary>
    void SetApicWindow(ulong? page, IIoRegion region);
}
