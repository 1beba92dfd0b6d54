using Doppel.Devices.Pc;

namespace Doppel.Devices.Tests.Pc;

/// <summary>The 8254 as its data sheet has it, with time in its own ticks.</summary>
public sealed class PitTests : IDisposable
{
    private static readonly TickRate Rate = new(Pit8254.Frequency);
    private readonly FakeClock _clock = new();
    private readonly FakeLine _line = new();
    private readonly Pit8254 _pit;
    private readonly SystemControlPortB _portB;

    public PitTests()
    {
        _pit = new Pit8254(_clock, _line);
        _portB = new SystemControlPortB(_clock, _pit);
    }

    public void Dispose() => _pit.Dispose();

    [Theory]
    [InlineData(1_193_182)]
    [InlineData(32_768)]
    [InlineData(3_579_545)]
    public void Ticks_and_times_convert_exactly_both_ways(int frequency)
    {
        var rate = new TickRate(frequency);
        foreach (long tick in new[] { 1, 2, 3, 1000, frequency, frequency + 1L, 123_456_789_012 })
        {
            long time = rate.TimeOf(tick);
            Assert.Equal(tick, rate.TicksAt(time));
            Assert.Equal(tick - 1, rate.TicksAt(time - 1));
        }
    }

    [Fact]
    public void Mode_0_raises_its_output_once_n_plus_1_ticks_after_the_count()
    {
        Program(0, 0x30, 100);
        Assert.False(_line.Level);
        AdvanceTo(100);
        Assert.False(_line.Level);
        AdvanceTo(101);
        Assert.True(_line.Level);
        AdvanceTo(200_000);
        Assert.Equal(1, _line.Rises);
    }

    [Fact]
    public void Mode_0_counts_on_below_zero_and_a_new_count_starts_again()
    {
        Program(0, 0x30, 100);
        AdvanceTo(1 + 100 + 5);
        Assert.Equal(0xFFFB, ReadCount(0));
        _pit.Out(0x40, 10);
        Assert.False(_line.Level);
        AdvanceBy(1000);
        Assert.False(_line.Level);
        _pit.Out(0x40, 0);
        AdvanceBy(11);
        Assert.True(_line.Level);
    }

    [Fact]
    public void Mode_2_interrupts_at_every_multiple_without_drift()
    {
        Program(0, 0x34, 11932);
        int before = _line.Rises;
        AdvanceTo(1 + (11932L * 1000) - 1);
        Assert.Equal(before + 999, _line.Rises);
        AdvanceTo(1 + (11932L * 1000));
        Assert.Equal(before + 1000, _line.Rises);
    }

    [Fact]
    public void Mode_2_counts_from_n_to_1()
    {
        Program(0, 0x34, 5);
        AdvanceBy(1);
        List<int> counts = [];
        for (int i = 0; i < 7; i++, AdvanceBy(1))
            counts.Add(ReadCount(0));
        Assert.Equal([5, 4, 3, 2, 1, 5, 4], counts);
    }

    [Theory]
    [InlineData(4, new[] { 4, 2, 4, 2, 4 }, new[] { 1, 1, 0, 0, 1 })]
    [InlineData(5, new[] { 5, 4, 2, 5, 2, 5 }, new[] { 1, 1, 1, 0, 0, 1 })]
    public void Mode_3_counts_by_two_in_each_half(int count, int[] counts, int[] outputs)
    {
        _portB.Out(0x61, 1);
        Program(2, 0xB6, count);
        AdvanceBy(1);
        for (int i = 0; i < counts.Length; i++, AdvanceBy(1))
        {
            Assert.Equal(counts[i], ReadCount(2));
            Assert.Equal(outputs[i] == 1, _pit.Output2);
        }
    }

    [Fact]
    public void Mode_3_interrupts_once_a_period()
    {
        Program(0, 0x36, 1000);
        int before = _line.Rises;
        AdvanceTo(1 + 10_000);
        Assert.Equal(before + 10, _line.Rises);
    }

    [Fact]
    public void A_new_count_in_mode_2_waits_for_the_end_of_the_round()
    {
        Program(0, 0x34, 100);
        int before = _line.Rises;
        AdvanceTo(1 + 50);
        WriteCount(0, 10);
        AdvanceTo(1 + 99);
        Assert.Equal(before, _line.Rises);
        AdvanceTo(1 + 100);
        Assert.Equal(before + 1, _line.Rises);
        Assert.Equal(10, ReadCount(0));
    }

    [Fact]
    public void A_new_count_in_mode_3_waits_for_the_end_of_the_half()
    {
        _portB.Out(0x61, 1);
        Program(2, 0xB6, 100);
        AdvanceTo(1 + 20);
        WriteCount(2, 20);
        AdvanceTo(1 + 49);
        Assert.True(_pit.Output2);
        AdvanceTo(1 + 50);
        Assert.False(_pit.Output2);
        AdvanceTo(1 + 59);
        Assert.False(_pit.Output2);
        AdvanceTo(1 + 60);
        Assert.True(_pit.Output2);
        AdvanceTo(1 + 70);
        Assert.False(_pit.Output2);
    }

    [Fact]
    public void Mode_4_strobes_once_and_each_new_count_strobes_again()
    {
        Program(0, 0x38, 50);
        int before = _line.Rises;
        AdvanceTo(1 + 50);
        Assert.Equal(before, _line.Rises);
        AdvanceTo(1 + 51);
        Assert.Equal(before + 1, _line.Rises);
        AdvanceBy(100_000);
        Assert.Equal(before + 1, _line.Rises);
        WriteCount(0, 50);
        AdvanceBy(60);
        Assert.Equal(before + 2, _line.Rises);
    }

    [Fact]
    public void Mode_1_is_a_one_shot_that_the_gate_triggers_again()
    {
        Program(2, 0xB2, 10);
        AdvanceBy(100);
        Assert.True(_pit.Output2);
        Gate(true);
        AdvanceBy(1);
        Assert.False(_pit.Output2);
        AdvanceBy(5);
        Gate(false);
        Gate(true);
        AdvanceBy(1 + 9);
        Assert.False(_pit.Output2);
        AdvanceBy(1);
        Assert.True(_pit.Output2);
    }

    [Fact]
    public void Mode_5_strobes_for_one_tick_after_the_gate_rose()
    {
        Program(2, 0xBA, 10);
        AdvanceBy(50);
        Assert.True(_pit.Output2);
        Gate(true);
        AdvanceBy(1 + 10);
        Assert.False(_pit.Output2);
        AdvanceBy(1);
        Assert.True(_pit.Output2);
        AdvanceBy(65_536);
        Assert.True(_pit.Output2);
    }

    [Fact]
    public void The_gate_holds_mode_0_and_lets_it_go_on()
    {
        Gate(true);
        Program(2, 0xB0, 100);
        AdvanceBy(1 + 40);
        Gate(false);
        AdvanceBy(1000);
        Assert.Equal(60, ReadCount(2));
        Gate(true);
        AdvanceBy(59);
        Assert.False(_pit.Output2);
        AdvanceBy(1);
        Assert.True(_pit.Output2);
    }

    [Fact]
    public void The_gate_stops_mode_3_high_and_starts_it_afresh()
    {
        Gate(true);
        Program(2, 0xB6, 100);
        AdvanceBy(1 + 60);
        Assert.False(_pit.Output2);
        Gate(false);
        Assert.True(_pit.Output2);
        AdvanceBy(500);
        Assert.True(_pit.Output2);
        Gate(true);
        AdvanceBy(1 + 49);
        Assert.True(_pit.Output2);
        AdvanceBy(1);
        Assert.False(_pit.Output2);
    }

    [Fact]
    public void A_latched_count_stands_until_it_is_read()
    {
        Program(0, 0x34, 50_000);
        AdvanceTo(1 + 1000);
        _pit.Out(0x43, 0x00);
        AdvanceBy(500);
        _pit.Out(0x43, 0x00);
        AdvanceBy(500);
        Assert.Equal(49_000, ReadCount(0));
        Assert.Equal(48_000, ReadCount(0));
    }

    [Fact]
    public void Read_back_latches_status_before_count_for_the_chosen_counters()
    {
        Program(0, 0x34, 50_000);
        Gate(true);
        Program(2, 0xB0, 100);
        AdvanceTo(1 + 1000);
        _pit.Out(0x43, 0xC0 | 0x0A);
        AdvanceBy(100);
        Assert.Equal(0xB4, _pit.In(0x40));
        Assert.Equal(49_000, ReadCount(0));
        Assert.Equal(0xB0, _pit.In(0x42));
    }

    [Fact]
    public void Read_back_shows_a_null_count_until_the_count_is_loaded()
    {
        _pit.Out(0x43, 0x34);
        _pit.Out(0x43, 0xE2);
        Assert.Equal(0xF4, _pit.In(0x40));
        WriteCount(0, 100);
        _pit.Out(0x43, 0xE2);
        Assert.Equal(0xF4, _pit.In(0x40));
        AdvanceBy(1);
        _pit.Out(0x43, 0xE2);
        Assert.Equal(0xB4, _pit.In(0x40));
    }

    [Fact]
    public void Bcd_counts_in_decimal()
    {
        _pit.Out(0x43, 0x35);
        _pit.Out(0x40, 0x00);
        _pit.Out(0x40, 0x10);
        AdvanceTo(1 + 1);
        Assert.Equal(0x0999, ReadCount(0));
        Program(0, 0x31, 0);
        AdvanceBy(1 + 1);
        Assert.Equal(0x9999, ReadCount(0));
    }

    [Fact]
    public void Single_byte_accesses_reach_their_half_only()
    {
        _pit.Out(0x43, 0x14);
        _pit.Out(0x40, 200);
        AdvanceBy(1 + 10);
        Assert.Equal(190, _pit.In(0x40));
        Assert.Equal(190, _pit.In(0x40));
        _pit.Out(0x43, 0x24);
        _pit.Out(0x40, 2);
        AdvanceBy(1 + 10);
        Assert.Equal(1, _pit.In(0x40));
    }

    [Fact]
    public void A_count_of_zero_is_65536()
    {
        Program(0, 0x34, 0);
        int before = _line.Rises;
        AdvanceTo(65_536);
        Assert.Equal(before, _line.Rises);
        AdvanceTo(65_537);
        Assert.Equal(before + 1, _line.Rises);
    }

    [Fact]
    public void Ticks_missed_by_a_late_host_are_made_up_for()
    {
        Program(0, 0x34, 11932);
        int before = _line.Rises;
        _clock.AdvanceLate(Rate.TimeOf(1 + (11932 * 20)));
        Assert.Equal(before + 1, _line.Rises);
        AdvanceBy(11932 * 30);
        Assert.Equal(before + 50, _line.Rises);
    }

    [Fact]
    public void The_debt_of_missed_ticks_is_at_most_a_second()
    {
        Program(0, 0x34, 11932);
        int before = _line.Rises;
        _clock.AdvanceLate(60_000_000_000);
        AdvanceBy(11932 * 1000);
        Assert.InRange(_line.Rises - before, 1000 + 90, 1000 + 102);
    }

    [Fact]
    public void A_guest_that_asks_for_too_many_interrupts_gets_a_bounded_rate()
    {
        Program(0, 0x34, 2);
        int before = _line.Rises;
        _clock.Advance(10_000_000);
        Assert.InRange(_line.Rises - before, 400, 501);
    }

    [Fact]
    public void Port_61_shows_refresh_and_the_output_of_counter_2()
    {
        int first = _portB.In(0x61) & 0x10;
        _clock.Advance(SystemControlPortB.RefreshPeriod);
        Assert.NotEqual(first, _portB.In(0x61) & 0x10);
        _portB.Out(0x61, 0xFF);
        Program(2, 0xB0, 10);
        Assert.Equal(0x0F, _portB.In(0x61) & 0xEF);
        AdvanceBy(11);
        Assert.Equal(0x2F, _portB.In(0x61) & 0xEF);
    }

    private void Program(int channel, int control, int count)
    {
        _pit.Out(0x43, control);
        WriteCount(channel, count);
    }

    private void WriteCount(int channel, int count)
    {
        _pit.Out(0x40 + channel, count & 0xFF);
        _pit.Out(0x40 + channel, count >> 8);
    }

    private int ReadCount(int channel)
    {
        int low = _pit.In(0x40 + channel);
        return low | (_pit.In(0x40 + channel) << 8);
    }

    private void Gate(bool level) => _portB.Out(0x61, level ? 1 : 0);

    private void AdvanceTo(long tick) => _clock.Advance(Rate.TimeOf(tick) - _clock.Now);

    private void AdvanceBy(long ticks) => AdvanceTo(Rate.TicksAt(_clock.Now) + ticks);
}
