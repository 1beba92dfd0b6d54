using Doppel.Machine.Cpu;

namespace Doppel.Machine.Tests.Interrupts;

public sealed class X2ApicTests
{
    private readonly ApicFixture _f = new(18);

    public X2ApicTests() => _f.EnterX2Apic();

    [Fact]
    public void Msrs_need_x2apic_mode()
    {
        var other = new ApicFixture();
        Assert.False(other.Apic.TryReadMsr(0x802, out _));
        Assert.False(other.Apic.TryWriteMsr(0x80B, 0));
    }

    [Fact]
    public void Ids_are_32_bits_and_the_logical_id_is_derived()
    {
        Assert.Equal(17u, _f.ReadMsr(0x802, 17));
        Assert.Equal(0x1_0002u, _f.ReadMsr(0x80D, 17));
        Assert.False(_f.Apic.TryWriteMsr(0x80D, 1));
        Assert.False(_f.Apic.TryWriteMsr(0x802, 1));
    }

    [Theory]
    [InlineData(0x80Eu)]
    [InlineData(0x809u)]
    [InlineData(0x80Cu)]
    [InlineData(0x831u)]
    [InlineData(0x800u)]
    [InlineData(0x83Au)]
    [InlineData(0x8FFu)]
    [InlineData(0x7FFu)]
    [InlineData(0x900u)]
    public void Registers_that_do_not_exist_fault(uint index)
    {
        Assert.False(_f.Apic.TryReadMsr(index, out _));
        Assert.False(_f.Apic.TryWriteMsr(index, 0));
    }

    [Theory]
    [InlineData(0x80Bu, 1ul)]
    [InlineData(0x828u, 1ul)]
    [InlineData(0x808u, 0x100ul)]
    [InlineData(0x832u, 1ul << 20)]
    [InlineData(0x83Eu, 4ul)]
    [InlineData(0x83Fu, 0x100ul)]
    [InlineData(0x830u, 1ul << 13)]
    [InlineData(0x838u, 1ul << 32)]
    [InlineData(0x839u, 0ul, false)]
    [InlineData(0x80Au, 0ul, false)]
    [InlineData(0x803u, 0ul, false)]
    public void Reserved_bits_and_read_only_registers_fault_on_writes(uint index, ulong value, bool zeroIsFine = true)
    {
        Assert.False(_f.Apic.TryWriteMsr(index, value));
        if (zeroIsFine && index != 0x83F)
            Assert.True(_f.Apic.TryWriteMsr(index, 0));
    }

    [Fact]
    public void Eoi_and_self_ipi_are_write_only()
    {
        Assert.False(_f.Apic.TryReadMsr(0x80B, out _));
        Assert.False(_f.Apic.TryReadMsr(0x83F, out _));
    }

    [Fact]
    public void The_command_register_is_one_msr()
    {
        Assert.True(_f.Apic.TryWriteMsr(0x830, (17UL << 32) | 0x4061));
        Assert.Equal((17UL << 32) | 0x4061, _f.ReadMsr(0x830));
        Assert.True(_f.Targets[17].IsInterrupted);
        Assert.Single(_f.Targets, t => t.IsInterrupted);
    }

    [Fact]
    public void Destination_ff_is_a_processor_and_only_all_ones_is_everyone()
    {
        Assert.True(_f.Apic.TryWriteMsr(0x830, (0xFFUL << 32) | 0x4061));
        Assert.DoesNotContain(_f.Targets, t => t.IsInterrupted);
        Assert.True(_f.Apic.TryWriteMsr(0x830, (0xFFFF_FFFFUL << 32) | 0x4061));
        Assert.All(_f.Targets, t => Assert.True(t.IsInterrupted));
    }

    [Fact]
    public void Logical_destinations_are_cluster_and_mask()
    {
        Assert.True(_f.Apic.TryWriteMsr(0x830, (0x1_0003UL << 32) | 0x4861));
        Assert.Equal([16, 17], Enumerable.Range(0, 18).Where(i => _f.Targets[i].IsInterrupted));
    }

    [Fact]
    public void Self_ipi_interrupts_oneself()
    {
        Assert.True(_f.Apics[3].TryWriteMsr(0x83F, 0x92));
        Assert.Equal(0x92, _f.Apics[3].Acknowledge());
        Assert.True(_f.Apics[3].TryWriteMsr(0x80B, 0));
        Assert.Equal(0u, _f.ReadMsr(0x814, 3));
        Assert.All(_f.Targets, t => Assert.Equal(PendingEvents.None, t.Events));
    }

    [Fact]
    public void Msi_broadcast_reaches_everyone()
    {
        _f.Bus.Deliver(0xFEEFF000, 0x61);
        Assert.All(_f.Targets, t => Assert.True(t.IsInterrupted));
    }
}
