using Doppel.Devices.Chipset;
using Doppel.Devices.Pci;
using Doppel.Machine.Bus;
using Doppel.Machine.Interrupts;

namespace Doppel.Devices.Pc;

/// <summary>
/// The wiring of interrupts on the board: an ISA interrupt leads to its input of the 8259 pair and to the IOAPIC's
/// input of the same number, but interrupt 0 to the IOAPIC's input 2 (MADT interrupt source override). A PCI interrupt
/// link leads to an IOAPIC input of its own, and for guests without APICs to an input of the 8259 pair that several links
/// share (<see cref="PcPorts.PciLinkIrq"/>). Holds no state of its own: the controllers keep the levels.
/// </summary>
public sealed class IsaInterrupts
{
    private readonly IInterruptLine[] _lines = new IInterruptLine[24];

    /// <summary>Wires the inputs as a board with a PIIX3 has them: links drive what its registers name, and an IOAPIC input each.</summary>
    /// <param name="pic">An input of the 8259 pair, 0 to 15.</param>
    /// <param name="ioApic">An input of the IOAPIC, 0 to 23.</param>
    /// <param name="router">Made here; the bridge sets it.</param>
    public IsaInterrupts(Func<int, IInterruptLine> pic, Func<int, IInterruptLine> ioApic, out PirqRouter router)
    {
        ArgumentNullException.ThrowIfNull(pic);
        ArgumentNullException.ThrowIfNull(ioApic);
        var shared = new WiredOr[16];
        for (int irq = 0; irq < 16; irq++)
            shared[irq] = new WiredOr(irq == 2 ? DisconnectedLine.Instance : new Fork(pic(irq), ioApic(irq == PcPorts.TimerIrq ? PcPorts.TimerGsi : irq)));
        router = new PirqRouter(irq => shared[irq].AddInput());
        for (int i = 0; i < _lines.Length; i++)
        {
            _lines[i] = i switch
            {
                < 16 => shared[i].AddInput(),
                < PcPorts.PciFirstGsi + PcPorts.PciGsiCount => new Fork(router.Link(i - PcPorts.PciFirstGsi), ioApic(i)),
                _ => ioApic(i),
            };
        }
    }

    /// <summary>Wires the inputs of a board whose links are fixed.</summary>
    /// <param name="pic">An input of the 8259 pair, 0 to 15.</param>
    /// <param name="ioApic">An input of the IOAPIC, 0 to 23.</param>
    public IsaInterrupts(Func<int, IInterruptLine> pic, Func<int, IInterruptLine> ioApic)
    {
        ArgumentNullException.ThrowIfNull(pic);
        ArgumentNullException.ThrowIfNull(ioApic);
        var shared = new Dictionary<int, WiredOr>();
        for (int link = 0; link < PcPorts.PciGsiCount; link++)
        {
            int irq = PcPorts.PciLinkIrq(link);
            _ = shared.TryAdd(irq, new WiredOr(pic(irq)));
        }

        for (int i = 0; i < _lines.Length; i++)
        {
            // Input 2 of the IOAPIC is the timer's: interrupt 2, the cascade, has no wire.
            _lines[i] = i switch
            {
                PcPorts.TimerIrq => new Fork(pic(PcPorts.TimerIrq), ioApic(PcPorts.TimerGsi)),
                2 => DisconnectedLine.Instance,
                < 16 when shared.TryGetValue(i, out WiredOr? wire) => new Fork(wire.AddInput(), ioApic(i)),
                < 16 => new Fork(pic(i), ioApic(i)),
                < PcPorts.PciFirstGsi + PcPorts.PciGsiCount => new Fork(shared[PcPorts.PciLinkIrq(i - PcPorts.PciFirstGsi)].AddInput(), ioApic(i)),
                _ => ioApic(i),
            };
        }
    }

    /// <summary>The wire of an ISA interrupt, 0 to 15, or of a global system interrupt from 16 to 23, the first four of which are the PCI interrupt links. Number 2 leads nowhere.</summary>
    public IInterruptLine Line(int number)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(number);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(number, 23);
        return _lines[number];
    }

    private sealed class Fork(IInterruptLine first, IInterruptLine second) : IInterruptLine
    {
        public void Set(bool asserted)
        {
            first.Set(asserted);
            second.Set(asserted);
        }
    }
}
