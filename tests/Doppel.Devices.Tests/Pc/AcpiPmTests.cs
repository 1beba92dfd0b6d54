using Doppel.Devices.Pc;
using Doppel.Machine.Bus;

namespace Doppel.Devices.Tests.Pc;

/// <summary>ACPI's fixed hardware as the specification has it, and the reset control register.</summary>
public sealed class AcpiPmTests : IDisposable
{
    private readonly FakeClock _clock = new();
    private readonly FakeLine _sci = new();
    private readonly AcpiPm _acpi;
    private int _powerOffs;

    public AcpiPmTests() => _acpi = new AcpiPm(_clock, _sci, () => _powerOffs++);

    public void Dispose() => _acpi.Dispose();

    [Fact]
    public void The_timer_counts_at_3579545_hertz_in_32_bits()
    {
        _clock.Advance(1_000_000_000);
        Assert.Equal(3_579_545u, _acpi.In32(PcPorts.PmTimer));
        _clock.Advance(1_200_000_000_000);
        Assert.Equal(unchecked((uint)(3_579_545L * 1201)), _acpi.In32(PcPorts.PmTimer));
    }

    [Fact]
    public void The_command_port_switches_acpi_on_and_off()
    {
        _acpi.Out(PcPorts.Pm1Control, 1);
        Assert.Equal(0, _acpi.In(PcPorts.Pm1Control));
        Enable();
        Assert.Equal(1, _acpi.In(PcPorts.Pm1Control));
        Assert.True(_acpi.IsAcpiEnabled);
        _acpi.Out(PcPorts.SmiCommand, PcPorts.AcpiDisable);
        Assert.Equal(0, _acpi.In(PcPorts.Pm1Control));
        _acpi.Out(PcPorts.SmiData, 0x77);
        Assert.Equal(0x77, _acpi.In(PcPorts.SmiData));
    }

    [Fact]
    public void The_power_button_interrupts_until_its_status_is_cleared()
    {
        Enable();
        Assert.False(_acpi.ListensToPowerButton);
        _acpi.Out(PcPorts.Pm1Event + 3, 1);
        Assert.True(_acpi.ListensToPowerButton);
        Assert.False(_sci.Level);
        _acpi.PressPowerButton();
        Assert.True(_sci.Level);
        Assert.Equal(1, _acpi.In(PcPorts.Pm1Event + 1));
        _acpi.Out(PcPorts.Pm1Event + 1, 0);
        Assert.True(_sci.Level);
        _acpi.Out(PcPorts.Pm1Event + 1, 1);
        Assert.False(_sci.Level);
        Assert.Equal(0, _acpi.In(PcPorts.Pm1Event + 1));
    }

    [Fact]
    public void The_clocks_interrupt_sets_its_status_once_and_interrupts_where_that_is_enabled()
    {
        Enable();
        _acpi.RtcInput.Set(true);
        Assert.Equal(4, _acpi.In(PcPorts.Pm1Event + 1));
        Assert.False(_sci.Level);
        _acpi.Out(PcPorts.Pm1Event + 3, 4);
        Assert.True(_sci.Level);
        _acpi.Out(PcPorts.Pm1Event + 1, 4);
        _acpi.RtcInput.Set(true);
        Assert.False(_sci.Level);
        _acpi.RtcInput.Set(false);
        Assert.False(_sci.Level);
        _acpi.RtcInput.Set(true);
        Assert.True(_sci.Level);
    }

    [Fact]
    public void Nothing_interrupts_while_acpi_is_off()
    {
        _acpi.Out(PcPorts.Pm1Event + 3, 1);
        _acpi.PressPowerButton();
        Assert.False(_sci.Level);
        Enable();
        Assert.True(_sci.Level);
    }

    [Fact]
    public void The_timers_top_bit_interrupts_at_each_change()
    {
        Enable();
        _acpi.Out(PcPorts.Pm1Event + 2, 1);
        long half = new TickRate(PcPorts.PmTimerFrequency).TimeOf(1L << 31);
        _clock.Advance(half - 1);
        Assert.False(_sci.Level);
        _clock.Advance(1);
        Assert.True(_sci.Level);
        Assert.Equal(1, _acpi.In(PcPorts.Pm1Event));
        _acpi.Out(PcPorts.Pm1Event, 1);
        Assert.False(_sci.Level);
        _clock.Advance(half + 1);
        Assert.True(_sci.Level);
    }

    /// <summary>By \_S5's type, and by the PIIX4's own, which OVMF's reset and small systems use.</summary>
    [Theory]
    [InlineData(PcPorts.SleepTypeOff)]
    [InlineData(PcPorts.SleepTypePiix4Off)]
    public void A_sleep_type_of_soft_off_with_the_enable_bit_powers_off(int type)
    {
        _acpi.Out(PcPorts.Pm1Control + 1, (byte)(type << 2));
        _acpi.Out(PcPorts.Pm1Control + 1, 0x20 | (1 << 2));
        Assert.Equal(0, _powerOffs);
        _acpi.Out(PcPorts.Pm1Control + 1, (byte)(0x20 | (type << 2)));
        Assert.Equal(1, _powerOffs);
        Assert.Equal(type << 2, _acpi.In(PcPorts.Pm1Control + 1));
    }

    [Fact]
    public void A_general_event_interrupts_when_enabled()
    {
        Enable();
        _acpi.RaiseGeneralEvent(9);
        Assert.False(_sci.Level);
        _acpi.Out(PcPorts.Gpe0 + 3, 2);
        Assert.True(_sci.Level);
        _acpi.Out(PcPorts.Gpe0 + 1, 2);
        Assert.False(_sci.Level);
    }

    [Fact]
    public void Only_defined_enable_bits_are_kept()
    {
        _acpi.Out(PcPorts.Pm1Event + 2, 0xFF);
        _acpi.Out(PcPorts.Pm1Event + 3, 0xFF);
        Assert.Equal(0x21, _acpi.In(PcPorts.Pm1Event + 2));
        Assert.Equal(0x07, _acpi.In(PcPorts.Pm1Event + 3));
    }

    [Fact]
    public void The_reset_register_resets_on_a_rise_of_bit_2()
    {
        int hard = 0, soft = 0;
        var register = new ResetControlRegister(() => hard++, () => soft++);
        register.Write(0, 1, 2);
        Assert.Equal((0, 0), (hard, soft));
        register.Write(0, 1, PcPorts.ResetValue);
        register.Write(0, 1, PcPorts.ResetValue);
        Assert.Equal((1, 0), (hard, soft));
        Assert.Equal(6u, register.Read(0, 1));
        register.Write(0, 1, 0);
        register.Write(0, 1, 4);
        Assert.Equal((1, 1), (hard, soft));
    }

    private void Enable() => _acpi.Out(PcPorts.SmiCommand, PcPorts.AcpiEnable);
}
