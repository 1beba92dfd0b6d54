using Doppel.Machine.Bus;
using Doppel.Machine.Cpu;
using Doppel.Machine.Interrupts;

namespace Doppel.Machine.Tests.Interrupts;

/// <summary>A vCPU as its local APIC sees it.</summary>
internal sealed class FakeTarget : IInterruptTarget
{
    public PendingEvents Events { get; private set; }

    public ulong TscOffset { get; set; }

    public ulong? Window { get; private set; }

    public bool IsInterrupted => (Events & PendingEvents.Interrupt) != 0;

    public void Signal(PendingEvents events) => Events |= events;

    public void ClearSignal(PendingEvents events) => Events &= ~events;

    public void SetApicWindow(ulong? page, IIoRegion region) => Window = page;
}
