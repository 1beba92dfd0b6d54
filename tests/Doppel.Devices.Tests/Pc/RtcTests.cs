using Doppel.Devices.Pc;

namespace Doppel.Devices.Tests.Pc;

/// <summary>The MC146818 as its data sheet has it. The clock starts ten seconds before a leap day.</summary>
public sealed class RtcTests : IDisposable
{
    private const long Second = 1_000_000_000;
    private readonly FakeClock _clock = new();
    private readonly FakeLine _line = new();
    private readonly Mc146818 _rtc;

    public RtcTests() => _rtc = new Mc146818(_clock, _line);

    public void Dispose() => _rtc.Dispose();

    [Fact]
    public void Time_is_shown_in_bcd_with_the_century()
    {
        Assert.Equal([0x50, 0x59, 0x23, 0x04, 0x28, 0x02, 0x24, 0x20], Times());
        _clock.Advance(10 * Second);
        Assert.Equal([0x00, 0x00, 0x00, 0x05, 0x29, 0x02, 0x24, 0x20], Times());
    }

    [Fact]
    public void Binary_and_twelve_hour_forms()
    {
        Write(11, 0x04);
        Assert.Equal([50, 59, 0x80 | 11, 4, 28, 2, 24, 0x20], Times());
        Write(11, 0x00);
        Assert.Equal(0x91, Read(4));
        _clock.Advance(10 * Second);
        Assert.Equal(0x12, Read(4));
    }

    [Fact]
    public void Update_in_progress_is_high_for_the_last_2228_microseconds_of_a_second()
    {
        _clock.Advance(Second - 2_228_001);
        Assert.Equal(0x26, Read(10));
        _clock.Advance(1_001);
        Assert.Equal(0xA6, Read(10));
        Assert.Equal(0x50, Read(0));
        _clock.Advance(2_227_000);
        Assert.Equal(0x26, Read(10));
        Assert.Equal(0x51, Read(0));
    }

    [Fact]
    public void The_update_ended_interrupt_comes_each_second_and_reading_c_clears_it()
    {
        Write(11, 0x12);
        _clock.Advance(Second);
        Assert.True(_line.Level);
        Assert.Equal(0x90, Read(12) & 0x90);
        Assert.False(_line.Level);
        Assert.Equal(0x00, Read(12) & 0x90);
        _clock.Advance(3 * Second);
        Assert.Equal(2, _line.Rises);
    }

    [Fact]
    public void The_alarm_matches_with_dont_care_fields()
    {
        Write(1, 0x05);
        Write(3, 0xC0);
        Write(5, 0xFF);
        Write(11, 0x22);
        _clock.Advance((15 * Second) - 1000);
        Assert.False(_line.Level);
        _clock.Advance(2000);
        Assert.True(_line.Level);
        Assert.Equal(0xA0, Read(12) & 0xA0);
        _clock.Advance(60 * Second);
        Assert.True(_line.Level);
    }

    [Fact]
    public void The_periodic_interrupt_runs_at_its_rate_without_drift()
    {
        Write(11, 0x42);
        int count = 0;
        for (int i = 0; i < 10_240; i++)
        {
            _clock.Advance(Second / 1024);
            if (_line.Level)
                count += (Read(12) & 0xC0) == 0xC0 ? 1 : 0;
        }

        Assert.InRange(count, 10_238, 10_240);
    }

    [Fact]
    public void Rates_1_and_2_are_256_and_128_hertz()
    {
        Write(10, 0x21);
        Write(11, 0x42);
        Assert.Equal(256, CountPeriods());
        Write(10, 0x22);
        Assert.Equal(128, CountPeriods());
        Write(10, 0x20);
        Assert.Equal(0, CountPeriods());
    }

    [Fact]
    public void Periodic_ticks_missed_while_c_was_unread_are_made_up_for()
    {
        Write(11, 0x42);
        Read(12);
        _clock.AdvanceLate(Second / 1024 * 11);
        int count = 0;
        for (int i = 0; i < 1024 * 4; i++)
        {
            if (_line.Level)
            {
                Read(12);
                count++;
            }

            _clock.Advance(Second / 1024 / 4);
        }

        Assert.InRange(count, 1024 + 10, 1024 + 12);
    }

    [Fact]
    public void The_guest_sets_the_time_with_set()
    {
        Write(11, 0x82);
        _clock.Advance(5 * Second);
        Assert.Equal(0x50, Read(0));
        foreach ((int index, int value) in new[] { (0, 0x30), (2, 0x15), (4, 0x08), (6, 0x02), (7, 0x31), (8, 0x12), (9, 0x99), (0x32, 0x19) })
            Write(index, value);
        Assert.Equal(0x26, Read(10));
        Write(11, 0x02);
        _clock.Advance(31 * Second);
        Assert.Equal(new DateTime(1999, 12, 31, 8, 16, 1), _rtc.Time);
        Assert.Equal(0x02, Read(6));
        _clock.Advance(16 * 3600 * Second);
        Assert.Equal([0x01, 0x16, 0x00, 0x03, 0x01, 0x01, 0x00, 0x20], Times());
    }

    [Fact]
    public void Setting_set_clears_the_update_interrupt_enable()
    {
        Write(11, 0x92);
        Assert.Equal(0x82, Read(11));
    }

    [Fact]
    public void The_first_update_follows_half_a_second_after_the_divider_is_released()
    {
        Write(10, 0x76);
        _clock.Advance(2 * Second);
        Assert.Equal(0x50, Read(0));
        Write(0, 0x00);
        Write(10, 0x26);
        _clock.Advance((Second / 2) - 1000);
        Assert.Equal(0x00, Read(0));
        _clock.Advance(2000);
        Assert.Equal(0x01, Read(0));
    }

    [Fact]
    public void Nonsense_in_the_time_registers_stands_still_until_it_is_corrected()
    {
        Write(8, 0x77);
        _clock.Advance(5 * Second);
        Assert.Equal(0x77, Read(8));
        Assert.Equal(0x50, Read(0));
        Write(8, 0x02);
        _clock.Advance(2 * Second);
        Assert.Equal(0x52, Read(0));
    }

    [Fact]
    public void Memory_sizes_are_where_firmware_puts_them()
    {
        _rtc.SetMemorySize(3UL << 30, 5UL << 30);
        Assert.Equal(640, Read(0x15) | (Read(0x16) << 8));
        Assert.Equal(65535, Read(0x17) | (Read(0x18) << 8));
        Assert.Equal(65535, Read(0x30) | (Read(0x31) << 8));
        Assert.Equal(((3 << 10) - 16) * 16, Read(0x34) | (Read(0x35) << 8));
        Assert.Equal((5 << 10) * 16, Read(0x5B) | (Read(0x5C) << 8) | (Read(0x5D) << 16));
    }

    [Theory]
    [InlineData(0, 0, 0x02)]
    [InlineData(4, 0, 0x03)]
    [InlineData(4, 2, 0x43)]
    public void Floppy_drives_are_where_firmware_puts_them(byte first, byte second, int equipment)
    {
        _rtc.SetMemorySize(64 << 20, 0);
        _rtc.SetFloppyDrives(first, second);
        Assert.Equal((first << 4) | second, Read(0x10));
        Assert.Equal(equipment, Read(0x14));
        Assert.Equal(Enumerable.Range(0x10, 0x1E).Sum(i => Read(i)), (Read(0x2E) << 8) | Read(0x2F));
    }

    [Fact]
    public void The_index_port_masks_the_nmi_and_cannot_be_read()
    {
        _rtc.Out(0x70, 0x8F);
        Assert.True(_rtc.NmiMasked);
        Assert.Equal(0xFF, _rtc.In(0x70));
        _rtc.Out(0x71, 0x5A);
        _rtc.Out(0x70, 0x0F);
        Assert.False(_rtc.NmiMasked);
        Assert.Equal(0x5A, _rtc.In(0x71));
    }

    [Fact]
    public void A_reset_clears_interrupts_and_keeps_time_and_memory()
    {
        Write(0x40, 0x77);
        Write(11, 0x72);
        _clock.Advance(2 * Second);
        Assert.True(_line.Level);
        _rtc.Reset();
        Assert.False(_line.Level);
        Assert.Equal(0x02, Read(11));
        Assert.Equal(0x77, Read(0x40));
        Assert.Equal(0x52, Read(0));
    }

    [Fact]
    public void Register_d_says_that_the_battery_is_good()
    {
        Write(13, 0);
        Assert.Equal(0x80, Read(13));
    }

    [Fact]
    public void An_offset_shows_local_time()
    {
        using var rtc = new Mc146818(_clock, _line, TimeSpan.FromHours(2));
        Assert.Equal(new DateTime(2024, 2, 29, 1, 59, 50), rtc.Time);
    }

    private int CountPeriods()
    {
        Read(12);
        int count = 0;
        for (int i = 0; i < 4096; i++)
        {
            _clock.Advance((Second / 4096) + 1);
            count += Read(12) >> 6 & 1;
        }

        return count;
    }

    private int[] Times() => [.. new[] { 0, 2, 4, 6, 7, 8, 9, 0x32 }.Select(Read)];

    private int Read(int index)
    {
        _rtc.Out(0x70, index);
        return _rtc.In(0x71);
    }

    private void Write(int index, int value)
    {
        _rtc.Out(0x70, index);
        _rtc.Out(0x71, value);
    }
}
