using Doppel.Machine.Cpu;
using Doppel.Machine.Interrupts;
using Doppel.Machine.State;

namespace Doppel.Machine.Tests.Interrupts;

public sealed class LocalApicTests
{
    private readonly ApicFixture _f = new(4);

    [Fact]
    public void Reset_values_are_those_of_the_manual()
    {
        var fresh = new ApicFixture(2, isEnabled: false);
        Assert.Equal(0xFEE00900u, fresh.Apics[0].ApicBase);
        Assert.Equal(0xFEE00800u, fresh.Apics[1].ApicBase);
        Assert.Equal(0xFEE00000ul, fresh.Target.Window);
        Assert.Equal(1u << 24, fresh.Read(ApicRegister.Id, cpu: 1));
        Assert.Equal(0x01050014u, fresh.Read(ApicRegister.Version));
        Assert.Equal(0xFFu, fresh.Read(ApicRegister.SpuriousVector));
        Assert.Equal(uint.MaxValue, fresh.Read(ApicRegister.DestinationFormat));
        for (int lvt = ApicRegister.LvtTimer; lvt <= ApicRegister.LvtError; lvt += 16)
            Assert.Equal(0x10000u, fresh.Read(lvt));
    }

    [Fact]
    public void The_interrupt_bit_follows_what_is_deliverable()
    {
        Assert.False(_f.Target.IsInterrupted);
        _f.Command(0x4040, destination: 0);
        Assert.True(_f.Target.IsInterrupted);
        Assert.True(_f.Apic.HasInterrupt);
        _f.Write(ApicRegister.TaskPriority, 0x40);
        Assert.False(_f.Target.IsInterrupted);
        Assert.Equal(-1, _f.Apic.Acknowledge());
        _f.Write(ApicRegister.TaskPriority, 0x30);
        Assert.True(_f.Target.IsInterrupted);
        Assert.Equal(0x40, _f.Apic.Acknowledge());
        Assert.False(_f.Target.IsInterrupted);
        Assert.Equal(-1, _f.Apic.Acknowledge());
    }

    [Fact]
    public void Cr8_is_the_upper_half_of_the_task_priority()
    {
        _f.Apic.Cr8 = 5;
        Assert.Equal(0x50u, _f.Read(ApicRegister.TaskPriority));
        _f.Write(ApicRegister.TaskPriority, 0x9A);
        Assert.Equal(9, _f.Apic.Cr8);
        _f.Command(0x409F, destination: 0);
        Assert.False(_f.Target.IsInterrupted);
        _f.Apic.Cr8 = 8;
        Assert.True(_f.Target.IsInterrupted);
    }

    [Fact]
    public void Interrupts_nest_by_priority_class()
    {
        _f.Command(0x4055);
        Assert.Equal(0x55, _f.Apic.Acknowledge());
        Assert.Equal(0x50u, _f.Read(ApicRegister.ProcessorPriority));
        _f.Command(0x405A);
        Assert.False(_f.Target.IsInterrupted);
        _f.Command(0x4061);
        Assert.Equal(0x61, _f.Apic.Acknowledge());
        Assert.Equal(1u << 0x15, _f.Read(ApicRegister.InService + 0x20));
        _f.Write(ApicRegister.Eoi, 0);
        Assert.False(_f.Target.IsInterrupted);
        _f.Write(ApicRegister.Eoi, 0);
        Assert.Equal(0x5A, _f.Apic.Acknowledge());
    }

    [Fact]
    public void Irr_and_isr_show_their_vectors()
    {
        _f.Command(0x40E3);
        Assert.Equal(8u, _f.Read(ApicRegister.Request + 0x70));
        Assert.Equal(0xE0u, _f.Read(ApicRegister.ArbitrationPriority));
        _ = _f.Apic.Acknowledge();
        Assert.Equal(0u, _f.Read(ApicRegister.Request + 0x70));
        Assert.Equal(8u, _f.Read(ApicRegister.InService + 0x70));
    }

    [Theory]
    [InlineData(0x4_0041u, "1")]
    [InlineData(0x8_0041u, "0123")]
    [InlineData(0xC_0041u, "023")]
    [InlineData(0x0_0041u, "2")]
    public void Shorthands_choose_destinations(uint command, string expected)
    {
        _f.Command(command | 0x4000, destination: 2, cpu: 1);
        Assert.Equal(expected, Interrupted());
    }

    [Theory]
    [InlineData(0x05, "02")]
    [InlineData(0xFF, "0123")]
    [InlineData(0x08, "3")]
    [InlineData(0x10, "")]
    public void Flat_logical_destinations_are_a_mask(byte destination, string expected)
    {
        for (int i = 0; i < 4; i++)
            _f.Write(ApicRegister.LogicalDestination, 1u << (24 + i), i);
        _f.Command(0x4841, destination);
        Assert.Equal(expected, Interrupted());
    }

    [Theory]
    [InlineData(0x03, "01")]
    [InlineData(0x13, "23")]
    [InlineData(0x12, "3")]
    [InlineData(0x23, "")]
    [InlineData(0xFF, "0123")]
    public void Cluster_destinations_match_cluster_and_member(byte destination, string expected)
    {
        for (int i = 0; i < 4; i++)
        {
            _f.Write(ApicRegister.DestinationFormat, 0x0FFF_FFFF, i);
            _f.Write(ApicRegister.LogicalDestination, (uint)(((i >> 1) << 4) | (1 << (i & 1))) << 24, i);
        }

        _f.Command(0x4841, destination);
        Assert.Equal(expected, Interrupted());
    }

    [Fact]
    public void Lowest_priority_goes_to_the_least_busy()
    {
        _f.Apics[0].Cr8 = 5;
        _f.Apics[1].Cr8 = 3;
        _f.Apics[2].Cr8 = 2;
        _f.Apics[3].Cr8 = 4;
        _f.Command(0x4171, destination: 0xFF);
        Assert.Equal("2", Interrupted());
    }

    [Fact]
    public void Nmi_init_and_sipi_signal_their_events()
    {
        _f.Command(0x4400, destination: 1);
        Assert.Equal(PendingEvents.Nmi, _f.Targets[1].Events);
        _f.Command(0xC500, destination: 2);
        Assert.Equal(PendingEvents.Init, _f.Targets[2].Events);
        _f.Command(0x8500, destination: 3);
        Assert.Equal(PendingEvents.None, _f.Targets[3].Events);
        _f.Command(0x469A, destination: 2);
        Assert.Equal(PendingEvents.Init | PendingEvents.Sipi, _f.Targets[2].Events);
        Assert.Equal(0x9A, _f.Apics[2].SipiVector);
    }

    [Fact]
    public void Init_keeps_id_and_base_and_resets_the_rest()
    {
        _f.Command(0x4041, destination: 1);
        _f.Apics[1].Cr8 = 7;
        ulong apicBase = _f.Apics[1].ApicBase;
        _f.Apics[1].Init();
        Assert.Equal(apicBase, _f.Apics[1].ApicBase);
        Assert.Equal(1u << 24, _f.Read(ApicRegister.Id, cpu: 1));
        Assert.Equal(0, _f.Apics[1].Cr8);
        Assert.Equal(0xFFu, _f.Read(ApicRegister.SpuriousVector, cpu: 1));
        Assert.False(_f.Targets[1].IsInterrupted);
    }

    [Fact]
    public void Software_disable_masks_the_lvt_and_refuses_vectors_but_not_nmi()
    {
        _f.Write(ApicRegister.LvtTimer, 0x40);
        _f.Write(ApicRegister.SpuriousVector, 0xFF);
        Assert.Equal(0x10040u, _f.Read(ApicRegister.LvtTimer));
        _f.Write(ApicRegister.LvtTimer, 0x40);
        Assert.Equal(0x10040u, _f.Read(ApicRegister.LvtTimer));
        _f.Command(0x4041);
        Assert.False(_f.Target.IsInterrupted);
        _f.Command(0x4400);
        Assert.Equal(PendingEvents.Nmi, _f.Target.Events);
    }

    [Fact]
    public void Errors_are_latched_by_a_write_and_raise_the_error_interrupt_once()
    {
        _f.Write(ApicRegister.LvtError, 0x77);
        _f.Command(0x400F);
        Assert.Equal(0u, _f.Read(ApicRegister.ErrorStatus));
        Assert.Equal(0x77, _f.Serve());
        _f.Command(0x400E);
        Assert.Equal(-1, _f.Serve());
        _f.Write(ApicRegister.ErrorStatus, 0);
        Assert.Equal(1u << 5, _f.Read(ApicRegister.ErrorStatus));
        _f.Write(ApicRegister.ErrorStatus, 0);
        Assert.Equal(0u, _f.Read(ApicRegister.ErrorStatus));
        _ = _f.Read(0x3D0);
        _f.Bus.Deliver(0xFEE00000, 0x0005);
        _f.Write(ApicRegister.ErrorStatus, 0);
        Assert.Equal((1u << 7) | (1u << 6), _f.Read(ApicRegister.ErrorStatus));
        Assert.Equal(0x77, _f.Serve());
    }

    [Fact]
    public void An_error_entry_with_an_illegal_vector_ends()
    {
        _f.Write(ApicRegister.LvtError, 0x03);
        _f.Command(0x400F);
        _f.Write(ApicRegister.ErrorStatus, 0);
        Assert.Equal((1u << 5) | (1u << 6), _f.Read(ApicRegister.ErrorStatus));
        Assert.False(_f.Target.IsInterrupted);
    }

    [Fact]
    public void Narrow_writes_and_gaps_between_registers_do_nothing()
    {
        _f.Apic.Write(ApicRegister.TaskPriority, 1, 0x50);
        _f.Apic.Write(ApicRegister.TaskPriority + 4, 4, 0x50);
        Assert.Equal(0u, _f.Read(ApicRegister.TaskPriority));
        Assert.Equal(0u, _f.Read(ApicRegister.Version + 4));
        Assert.Equal(0x05u, _f.Apic.Read(ApicRegister.Version + 2, 1));
    }

    [Fact]
    public void Apic_base_follows_the_legal_transitions()
    {
        LocalApic apic = _f.Apic;
        Assert.False(apic.TryWriteApicBase(0xFEE00500));
        Assert.False(apic.TryWriteApicBase(0xFEE00A00));
        Assert.False(apic.TryWriteApicBase(0xFEE00800 | (1UL << 40)));
        Assert.True(apic.TryWriteApicBase(0xFED40900));
        Assert.Equal(0xFED40000ul, _f.Target.Window);
        Assert.True(apic.TryWriteApicBase(0xFEE00D00));
        Assert.Null(_f.Target.Window);
        Assert.False(apic.TryWriteApicBase(0xFEE00900));
        Assert.True(apic.TryWriteApicBase(0xFEE00100));
        Assert.Null(_f.Target.Window);
        Assert.False(apic.TryWriteApicBase(0xFEE00D00));
        Assert.True(apic.TryWriteApicBase(0xFEE00900));
        Assert.Equal(0xFEE00000ul, _f.Target.Window);
        Assert.Equal(0xFFu, _f.Read(ApicRegister.SpuriousVector));
    }

    [Fact]
    public void A_disabled_apic_hears_nothing()
    {
        Assert.True(_f.Apic.TryWriteApicBase(0xFEE00100));
        _f.Command(0x4400, destination: 0xFF, cpu: 1);
        Assert.Equal(PendingEvents.None, _f.Target.Events);
        Assert.Equal(PendingEvents.Nmi, _f.Targets[2].Events);
    }

    [Fact]
    public void Msi_carries_destination_mode_and_trigger()
    {
        _f.Bus.Deliver(0xFEE02000, 0x4061);
        Assert.Equal("2", Interrupted());
        _f.Bus.Deliver(0xFEE01000, 0xC062);
        Assert.Equal(1u << 2, _f.Read(ApicRegister.TriggerMode + 0x30, cpu: 1));
        _f.Bus.Deliver(0xFEE03000, 0x0400);
        Assert.Equal(PendingEvents.Nmi, _f.Targets[3].Events);
        _f.Bus.Deliver(0xFEF00000, 0x4061);
        Assert.False(_f.Target.IsInterrupted);
        _f.Bus.Deliver(0xFEEFF000, 0x4063);
        Assert.Equal("0123", Interrupted());
    }

    [Fact]
    public void Restore_brings_back_all_registers_and_rejects_damage()
    {
        _f.Command(0x4041);
        _f.Command(0x4055);
        _ = _f.Apic.Acknowledge();
        _f.Apic.Cr8 = 4;
        _f.Write(ApicRegister.LvtTimer, 0x2_0050);
        _f.Write(ApicRegister.DivideConfiguration, 0xB);
        _f.Write(ApicRegister.InitialCount, 1000);
        _f.Pass(300);
        var writer = new StateWriter();
        _f.Apic.Save(writer);
        byte[] saved = writer.ToArray();

        var other = new ApicFixture();
        other.Clock.Advance((ulong)_f.Clock.Now);
        other.Apic.Restore(new StateReader(saved), 1);
        var again = new StateWriter();
        other.Apic.Save(again);
        Assert.Equal(saved, again.ToArray());
        Assert.Equal(700u, other.Read(ApicRegister.CurrentCount));
        other.Write(ApicRegister.Eoi, 0);
        other.Apic.Cr8 = 3;
        Assert.Equal(0x41, other.Apic.Acknowledge());

        Assert.Throws<InvalidDataException>(() => other.Apic.Restore(new StateReader(saved), 2));
        Assert.Throws<InvalidDataException>(() => other.Apic.Restore(new StateReader(saved.AsMemory(0, saved.Length - 1)), 1));
        saved[0] |= 1;
        Assert.Throws<InvalidDataException>(() => other.Apic.Restore(new StateReader(saved), 1));
    }

    private string Interrupted() =>
        string.Concat(_f.Targets.Select((t, i) => t.IsInterrupted ? i.ToString() : ""));
}
