using Doppel.Machine.Cpu;
using Doppel.Machine.Interrupts;

namespace Doppel.Machine.Tests.Interrupts;

public sealed class VirtualWireTests
{
    private readonly ApicFixture _f = new(2, isEnabled: false);
    private readonly FakePic _pic = new();

    public VirtualWireTests()
    {
        _f.Apic.ExternalSource = _pic;
        _pic.Output = _f.Apic.Lint0;
    }

    [Fact]
    public void The_bootstrap_processor_starts_with_the_8259s_connected()
    {
        Assert.Equal(0x700u, _f.Read(ApicRegister.LvtLint0));
        Assert.Equal(0x400u, _f.Read(ApicRegister.LvtLint1));
        _pic.Request(0x30);
        Assert.True(_f.Target.IsInterrupted);
        Assert.False(_f.Targets[1].IsInterrupted);
        Assert.Equal(0x30, _f.Apic.Acknowledge());
        Assert.False(_f.Target.IsInterrupted);
        Assert.Equal(0u, _f.Read(ApicRegister.InService + 0x10));
    }

    [Fact]
    public void External_interrupts_ignore_the_task_priority_and_obey_the_mask()
    {
        _f.Apic.Cr8 = 15;
        _pic.Request(0x30);
        Assert.True(_f.Target.IsInterrupted);
        _f.Write(ApicRegister.LvtLint0, 0x10700);
        Assert.False(_f.Target.IsInterrupted);
        _f.Write(ApicRegister.LvtLint0, 0x700);
        Assert.Equal(0x30, _f.Apic.Acknowledge());
    }

    [Fact]
    public void With_the_apic_disabled_the_pins_are_intr_and_nmi()
    {
        Assert.True(_f.Apic.TryWriteApicBase(0xFEE00100));
        _pic.Request(0x31);
        Assert.True(_f.Target.IsInterrupted);
        Assert.Equal(0x31, _f.Apic.Acknowledge());
        _f.Apic.Lint1.Set(true);
        Assert.Equal(PendingEvents.Nmi, _f.Target.Events);
    }

    [Fact]
    public void Lint1_delivers_one_nmi_an_edge()
    {
        _f.Apic.Lint1.Set(true);
        Assert.Equal(PendingEvents.Nmi, _f.Target.Events);
        _f.Target.ClearSignal(PendingEvents.Nmi);
        _f.Apic.Lint1.Set(true);
        Assert.Equal(PendingEvents.None, _f.Target.Events);
    }

    [Fact]
    public void A_level_triggered_lint0_comes_again_after_eoi_while_asserted()
    {
        _f.Write(ApicRegister.LvtLint0, 0x8050);
        _f.Apic.Lint0.Set(true);
        Assert.Equal(0xC050u, _f.Read(ApicRegister.LvtLint0));
        Assert.Equal(0x50, _f.Serve());
        Assert.Equal(0x50, _f.Apic.Acknowledge());
        _f.Apic.Lint0.Set(false);
        _f.Write(ApicRegister.Eoi, 0);
        Assert.Equal(-1, _f.Apic.Acknowledge());
        Assert.Equal(0x8050u, _f.Read(ApicRegister.LvtLint0));
    }

    [Fact]
    public void ExtInt_through_the_ioapic_asks_the_8259s()
    {
        _f.Write(ApicRegister.LvtLint0, 0x10000);
        _pic.Output = _f.IoApic.Pin(0);
        _f.Redirect(0, 0x700);
        _pic.Request(0x33);
        Assert.True(_f.Target.IsInterrupted);
        Assert.Equal(0x33, _f.Apic.Acknowledge());
        Assert.False(_f.Target.IsInterrupted);
    }
}
