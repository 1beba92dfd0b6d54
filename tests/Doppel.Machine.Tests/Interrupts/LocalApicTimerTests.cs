using Doppel.Machine.Interrupts;

namespace Doppel.Machine.Tests.Interrupts;

public sealed class LocalApicTimerTests
{
    private const uint Periodic = 1 << 17, Deadline = 2 << 17, Masked = 1 << 16;
    private readonly ApicFixture _f = new();

    [Theory]
    [InlineData(0xBu, 1)]
    [InlineData(0x0u, 2)]
    [InlineData(0x1u, 4)]
    [InlineData(0x2u, 8)]
    [InlineData(0x3u, 16)]
    [InlineData(0x8u, 32)]
    [InlineData(0x9u, 64)]
    [InlineData(0xAu, 128)]
    public void The_divider_has_eight_settings(uint setting, int divisor)
    {
        _f.Write(ApicRegister.DivideConfiguration, setting);
        Assert.Equal(setting, _f.Read(ApicRegister.DivideConfiguration));
        _f.Write(ApicRegister.LvtTimer, 0x40);
        _f.Write(ApicRegister.InitialCount, 1000);
        _f.Pass(400 * divisor);
        Assert.Equal(600u, _f.Read(ApicRegister.CurrentCount));
        _f.Pass((600 * divisor) - 1);
        Assert.False(_f.Target.IsInterrupted);
        _f.Pass(1);
        Assert.Equal(0x40, _f.Serve());
    }

    [Fact]
    public void One_shot_fires_once_and_reloads_on_a_write()
    {
        Start(0x40, 5000);
        _f.Pass(5000);
        Assert.Equal(0x40, _f.Serve());
        Assert.Equal(0u, _f.Read(ApicRegister.CurrentCount));
        _f.Pass(1_000_000);
        Assert.Equal(-1, _f.Serve());
        _f.Write(ApicRegister.InitialCount, 3000);
        Assert.Equal(3000u, _f.Read(ApicRegister.CurrentCount));
        _f.Pass(1000);
        _f.Write(ApicRegister.InitialCount, 3000);
        _f.Pass(2999);
        Assert.Equal(-1, _f.Serve());
        _f.Pass(1);
        Assert.Equal(0x40, _f.Serve());
    }

    [Fact]
    public void Writing_zero_stops_the_timer()
    {
        Start(0x40, 5000);
        _f.Write(ApicRegister.InitialCount, 0);
        Assert.Null(_f.Clock.NextDeadline);
        Assert.Equal(0u, _f.Read(ApicRegister.CurrentCount));
    }

    [Fact]
    public void Periodic_fires_on_a_fixed_grid()
    {
        Start(0x40 | Periodic, 100_000);
        for (int i = 0; i < 5; i++)
        {
            _f.Pass(99_999);
            Assert.Equal(-1, _f.Serve());
            _f.Pass(1);
            Assert.Equal(0x40, _f.Serve());
        }

        _f.Pass(30_000);
        Assert.Equal(70_000u, _f.Read(ApicRegister.CurrentCount));
    }

    [Fact]
    public void A_period_of_one_nanosecond_does_not_hang_the_machine()
    {
        Start(0x40 | Periodic, 1);
        _f.Pass(1_000_000);
        Assert.Equal(0x40, _f.Serve());
        Assert.True(_f.Clock.NextDeadline - _f.Clock.Now <= 20_000);
    }

    [Fact]
    public void A_masked_timer_counts_without_interrupting()
    {
        Start(0x40 | Masked | Periodic, 50_000);
        _f.Pass(60_000);
        Assert.Equal(-1, _f.Serve());
        Assert.Equal(40_000u, _f.Read(ApicRegister.CurrentCount));
        _f.Write(ApicRegister.LvtTimer, 0x40 | Periodic);
        Assert.Equal(-1, _f.Serve());
        _f.Pass(40_000);
        Assert.Equal(0x40, _f.Serve());
    }

    [Fact]
    public void Changing_between_one_shot_and_periodic_keeps_the_count()
    {
        Start(0x40, 100_000);
        _f.Pass(60_000);
        _f.Write(ApicRegister.LvtTimer, 0x40 | Periodic);
        Assert.Equal(40_000u, _f.Read(ApicRegister.CurrentCount));
        _f.Pass(40_000);
        Assert.Equal(0x40, _f.Serve());
        _f.Pass(130_000);
        Assert.Equal(70_000u, _f.Read(ApicRegister.CurrentCount));
        _f.Write(ApicRegister.LvtTimer, 0x40);
        Assert.Equal(70_000u, _f.Read(ApicRegister.CurrentCount));
        Assert.Equal(0x40, _f.Serve());
        _f.Pass(70_000);
        Assert.Equal(0x40, _f.Serve());
        _f.Write(ApicRegister.LvtTimer, 0x40 | Periodic);
        Assert.Equal(0u, _f.Read(ApicRegister.CurrentCount));
        _f.Pass(1_000_000);
        Assert.Equal(-1, _f.Serve());
    }

    [Fact]
    public void Changing_the_divider_keeps_the_count_and_changes_the_rate()
    {
        Start(0x40, 100_000);
        _f.Pass(50_000);
        _f.Write(ApicRegister.DivideConfiguration, 0);
        Assert.Equal(50_000u, _f.Read(ApicRegister.CurrentCount));
        _f.Pass(99_999);
        Assert.Equal(-1, _f.Serve());
        _f.Pass(1);
        Assert.Equal(0x40, _f.Serve());
    }

    [Fact]
    public void The_tsc_deadline_is_in_guest_ticks()
    {
        _f.Target.TscOffset = 1_000_000;
        _f.Write(ApicRegister.LvtTimer, 0x40 | Deadline);
        _f.Apic.TscDeadline = 1_005_000;
        Assert.Equal(1_005_000u, _f.Apic.TscDeadline);
        Assert.Equal(0u, _f.Read(ApicRegister.CurrentCount));
        _f.Pass(4_999);
        Assert.Equal(-1, _f.Serve());
        _f.Pass(1);
        Assert.Equal(0x40, _f.Serve());
        Assert.Equal(0u, _f.Apic.TscDeadline);
    }

    [Fact]
    public void A_tsc_deadline_in_the_past_fires_at_once()
    {
        _f.Pass(10_000);
        _f.Write(ApicRegister.LvtTimer, 0x40 | Deadline);
        _f.Apic.TscDeadline = 1;
        Assert.Equal(0x40, _f.Serve());
        Assert.Equal(0u, _f.Apic.TscDeadline);
        Assert.Null(_f.Clock.NextDeadline);
    }

    [Fact]
    public void A_mode_change_disarms_the_tsc_deadline()
    {
        _f.Write(ApicRegister.LvtTimer, 0x40 | Deadline);
        _f.Apic.TscDeadline = 5_000;
        _f.Write(ApicRegister.LvtTimer, 0x40);
        Assert.Null(_f.Clock.NextDeadline);
        _f.Write(ApicRegister.LvtTimer, 0x40 | Deadline);
        Assert.Equal(0u, _f.Apic.TscDeadline);
        _f.Pass(10_000);
        Assert.Equal(-1, _f.Serve());
    }

    [Fact]
    public void In_deadline_mode_the_initial_count_is_ignored_and_elsewhere_the_deadline_is()
    {
        _f.Write(ApicRegister.LvtTimer, 0x40 | Deadline);
        _f.Write(ApicRegister.InitialCount, 100);
        Assert.Equal(0u, _f.Read(ApicRegister.InitialCount));
        Assert.Null(_f.Clock.NextDeadline);
        _f.Write(ApicRegister.LvtTimer, 0x40);
        _f.Apic.TscDeadline = 100;
        Assert.Equal(0u, _f.Apic.TscDeadline);
        Assert.Null(_f.Clock.NextDeadline);
    }

    [Fact]
    public void Zero_disarms_the_tsc_deadline_and_the_far_future_is_accepted()
    {
        _f.Write(ApicRegister.LvtTimer, 0x40 | Deadline);
        _f.Apic.TscDeadline = ulong.MaxValue;
        Assert.NotNull(_f.Clock.NextDeadline);
        _f.Apic.TscDeadline = 0;
        Assert.Null(_f.Clock.NextDeadline);
    }

    [Fact]
    public void After_a_change_of_the_tsc_offset_the_same_deadline_comes_at_another_time()
    {
        _f.Write(ApicRegister.LvtTimer, 0x40 | Deadline);
        _f.Apic.TscDeadline = 10_000;
        _f.Target.TscOffset = 4_000;
        _f.Apic.TscDeadline = 10_000;
        Assert.Equal(6_000, _f.Clock.NextDeadline);
        _f.Target.TscOffset = 20_000;
        _f.Apic.TscDeadline = 10_000;
        Assert.Equal(0x40, _f.Serve());
    }

    private void Start(uint lvt, uint count)
    {
        _f.Write(ApicRegister.DivideConfiguration, 0xB);
        _f.Write(ApicRegister.LvtTimer, lvt);
        _f.Write(ApicRegister.InitialCount, count);
    }
}
