using Doppel.Devices.Pc;
using Doppel.Machine.Bus;
using Doppel.Machine.Cpu;
using Doppel.Machine.Interrupts;

namespace Doppel.Devices.Tests.Pc;

/// <summary>The way of an interrupt from a device over both controllers to the vCPU's local APIC.</summary>
public sealed class InterruptPathTests : IDisposable
{
    private readonly FakeClock _clock = new();
    private readonly Target _target = new();
    private readonly LocalApic _apic;
    private readonly IoApic _ioApic;
    private readonly PicPair _pic;
    private readonly Pit8254 _pit;

    public InterruptPathTests()
    {
        var bus = new ApicBus();
        _apic = new LocalApic(0, _target, bus, _clock);
        _ioApic = new IoApic(bus);
        _pic = new PicPair(_apic.Lint0);
        _apic.ExternalSource = _pic;
        var board = new IsaInterrupts(_pic.Line, _ioApic.Pin);
        _pit = new Pit8254(_clock, board.Line(PcPorts.TimerIrq));
        foreach ((int port, int value) in new[] { (0x20, 0x11), (0x21, 0x30), (0x21, 4), (0x21, 1), (0xA0, 0x11), (0xA1, 0x38), (0xA1, 2), (0xA1, 1) })
            _pic.Out(port, value);
        _pit.Out(0x43, 0x34);
        _pit.Out(0x40, 0x9C);
        _pit.Out(0x40, 0x2E);
    }

    public void Dispose()
    {
        _pit.Dispose();
        _apic.Dispose();
    }

    [Fact]
    public void The_timer_reaches_the_cpu_through_the_8259_in_virtual_wire_mode()
    {
        for (int i = 0; i < 5; i++)
        {
            _clock.Advance(10_100_000);
            Assert.True(_target.Pending.HasFlag(PendingEvents.Interrupt));
            Assert.Equal(0x30, _apic.Acknowledge());
            Assert.False(_target.Pending.HasFlag(PendingEvents.Interrupt));
            _pic.Out(0x20, 0x60);
        }
    }

    [Fact]
    public void The_timer_reaches_the_cpu_through_input_2_of_the_ioapic()
    {
        _pic.Out(0x21, 0xFF);
        _ioApic.Write(0, 4, 0x14);
        _ioApic.Write(0x10, 4, 0x41);
        _ioApic.Write(0, 4, 0x15);
        _ioApic.Write(0x10, 4, 0);
        _clock.Advance(10_100_000);
        Assert.Equal(0x41, _apic.Acknowledge());
        Assert.False(_apic.HasInterrupt);
    }

    [Fact]
    public void An_interrupt_masked_at_the_8259_never_reaches_the_cpu()
    {
        _pic.Out(0x21, 0x01);
        _clock.Advance(100_000_000);
        Assert.False(_apic.HasInterrupt);
        Assert.Equal(-1, _apic.Acknowledge());
    }

    private sealed class Target : IInterruptTarget
    {
        public PendingEvents Pending { get; private set; }

        public ulong TscOffset => 0;

        public void Signal(PendingEvents events) => Pending |= events;

        public void ClearSignal(PendingEvents events) => Pending &= ~events;

        public void SetApicWindow(ulong? page, IIoRegion region)
        {
        }
    }
}
