using Doppel.Machine.Interrupts;
using Doppel.Machine.State;

namespace Doppel.Machine.Tests.Interrupts;

public sealed class IoApicTests
{
    private const uint Level = 1 << 15, Masked = 1 << 16, RemoteIrr = 1 << 14;
    private readonly ApicFixture _f = new(2);

    [Fact]
    public void Identification_registers()
    {
        Assert.Equal(0x0017_0020u, _f.ReadIoApic(1));
        _f.WriteIoApic(0, 0x0500_0000);
        Assert.Equal(0x0500_0000u, _f.ReadIoApic(0));
        Assert.Equal(0x0500_0000u, _f.ReadIoApic(2));
        Assert.Equal(0u, _f.ReadIoApic(0x40));
        Assert.Equal(Masked, _f.ReadIoApic(0x10 + 46));
    }

    [Fact]
    public void An_edge_delivers_once()
    {
        _f.Redirect(4, 0x34, destination: 1);
        IInterruptLine pin = _f.IoApic.Pin(4);
        pin.Set(true);
        Assert.Equal(0x34, _f.Serve(1));
        pin.Set(true);
        Assert.Equal(-1, _f.Serve(1));
        pin.Set(false);
        Assert.Equal(-1, _f.Serve(1));
        pin.Set(true);
        Assert.Equal(0x34, _f.Serve(1));
        Assert.Equal(-1, _f.Serve(0));
    }

    [Fact]
    public void An_edge_on_a_masked_input_is_lost()
    {
        _f.Redirect(4, 0x34 | Masked);
        _f.IoApic.Pin(4).Set(true);
        _f.Redirect(4, 0x34);
        Assert.Equal(-1, _f.Serve());
    }

    [Fact]
    public void A_level_sets_remote_irr_until_eoi_and_comes_again_while_asserted()
    {
        _f.Redirect(9, 0x39 | Level);
        IInterruptLine pin = _f.IoApic.Pin(9);
        pin.Set(true);
        Assert.Equal(0x39 | Level | RemoteIrr, _f.ReadIoApic(0x22));
        Assert.Equal(0x39, _f.Apic.Acknowledge());
        pin.Set(false);
        pin.Set(true);
        Assert.False(_f.Target.IsInterrupted);
        _f.Write(ApicRegister.Eoi, 0);
        Assert.Equal(0x39, _f.Apic.Acknowledge());
        pin.Set(false);
        Assert.Equal(0x39 | Level | RemoteIrr, _f.ReadIoApic(0x22));
        _f.Write(ApicRegister.Eoi, 0);
        Assert.Equal(0x39 | Level, _f.ReadIoApic(0x22));
        Assert.Equal(-1, _f.Apic.Acknowledge());
    }

    [Fact]
    public void A_level_on_a_masked_input_is_delivered_when_it_is_unmasked()
    {
        _f.Redirect(9, 0x39 | Level | Masked);
        _f.IoApic.Pin(9).Set(true);
        Assert.False(_f.Target.IsInterrupted);
        _f.Redirect(9, 0x39 | Level);
        Assert.Equal(0x39, _f.Serve());
    }

    [Fact]
    public void Inputs_that_share_a_vector_all_hear_its_eoi()
    {
        _f.Redirect(9, 0x39 | Level);
        _f.Redirect(10, 0x39 | Level);
        _f.IoApic.Pin(9).Set(true);
        _f.IoApic.Pin(10).Set(true);
        Assert.Equal(0x39, _f.Apic.Acknowledge());
        _f.IoApic.Pin(9).Set(false);
        _f.Write(ApicRegister.Eoi, 0);
        Assert.Equal(0x39, _f.Apic.Acknowledge());
        _f.IoApic.Pin(10).Set(false);
        _f.Write(ApicRegister.Eoi, 0);
        Assert.Equal(-1, _f.Apic.Acknowledge());
    }

    [Fact]
    public void The_eoi_register_ends_by_vector_too()
    {
        _f.Redirect(9, 0x39 | Level);
        _f.IoApic.Pin(9).Set(true);
        _f.IoApic.Pin(9).Set(false);
        _f.IoApic.Write(0x40, 4, 0x38);
        Assert.NotEqual(0u, _f.ReadIoApic(0x22) & RemoteIrr);
        _f.IoApic.Write(0x40, 4, 0x39);
        Assert.Equal(0u, _f.ReadIoApic(0x22) & RemoteIrr);
    }

    [Fact]
    public void A_detour_through_edge_mode_clears_remote_irr()
    {
        _f.Redirect(9, 0x39 | Level);
        _f.IoApic.Pin(9).Set(true);
        _f.IoApic.Pin(9).Set(false);
        _f.Redirect(9, 0x39 | Masked);
        _f.Redirect(9, 0x39 | Level);
        Assert.Equal(0x39 | Level, _f.ReadIoApic(0x22));
    }

    [Fact]
    public void Remote_irr_and_delivery_status_cannot_be_written()
    {
        _f.Redirect(9, 0xFFFF_FFFF, destination: 0xAB);
        Assert.Equal(0x1_AFFFu, _f.ReadIoApic(0x22));
        Assert.Equal(0xAB00_0000u, _f.ReadIoApic(0x23));
    }

    [Fact]
    public void Eoi_of_an_edge_interrupt_is_not_broadcast()
    {
        _f.Redirect(9, 0x39 | Level);
        _f.IoApic.Pin(9).Set(true);
        Assert.Equal(0x39, _f.Serve());
        _f.IoApic.Pin(9).Set(false);
        Assert.Equal(0x39, _f.Apic.Acknowledge());
        _f.Command(0x4839, destination: 0, cpu: 1);
        _f.Redirect(4, 0x45);
        _f.IoApic.Pin(4).Set(true);
        Assert.Equal(0x45, _f.Serve());
        Assert.NotEqual(0u, _f.ReadIoApic(0x22) & RemoteIrr);
    }

    [Fact]
    public void There_are_24_inputs() => Assert.Throws<ArgumentOutOfRangeException>(() => _f.IoApic.Pin(24));

    [Fact]
    public void Restore_brings_back_entries_and_levels_and_rejects_damage()
    {
        _f.Redirect(9, 0x39 | Level);
        _f.IoApic.Pin(9).Set(true);
        var writer = new StateWriter();
        _f.IoApic.Save(writer);
        byte[] saved = writer.ToArray();
        var other = new ApicFixture();
        other.IoApic.Restore(new StateReader(saved), 1);
        Assert.False(other.Target.IsInterrupted);
        other.IoApic.EndOfInterrupt(0x39);
        Assert.Equal(0x39, other.Apic.Acknowledge());
        saved[0] = 16;
        Assert.Throws<InvalidDataException>(() => other.IoApic.Restore(new StateReader(saved), 1));
    }

    [Fact]
    public void Lines_from_many_threads_lose_no_edge()
    {
        const int Threads = 4, Rounds = 2000;
        for (int i = 0; i < Threads; i++)
            _f.Redirect(16 + i, (uint)(0x60 + (0x10 * i)), destination: 0);
        int served = 0, sent = 0;
        Parallel.For(0, Threads, new ParallelOptions { MaxDegreeOfParallelism = Threads }, i =>
        {
            IInterruptLine pin = _f.IoApic.Pin(16 + i);
            for (int round = 0; round < Rounds; round++)
            {
                pin.Set(true);
                pin.Set(false);
                _ = Interlocked.Increment(ref sent);
            }
        });
        while (_f.Serve() >= 0)
            served++;
        Assert.Equal(Threads * Rounds, sent);
        Assert.Equal(Threads, served);
        Assert.False(_f.Target.IsInterrupted);
    }
}
