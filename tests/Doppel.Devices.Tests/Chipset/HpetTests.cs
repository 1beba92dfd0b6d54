using Doppel.Devices.Chipset;
using Doppel.Machine.Interrupts;

namespace Doppel.Devices.Tests.Chipset;

/// <summary>The high precision event timer, by the registers of its specification (IA-PC HPET 1.0a, 2.3).</summary>
public sealed class HpetTests : IDisposable
{
    private const ulong Configuration = 0x10, Status = 0x20, Counter = 0xF0;
    private const long Tick = 1_000_000_000 / Hpet.Frequency;
    private readonly FakeClock _clock = new();
    private readonly FakeLine[] _lines = [.. Enumerable.Range(0, 26).Select(_ => new FakeLine())];
    private readonly Hpet _hpet;
    private readonly IInterruptLine _pit;

    public HpetTests()
    {
        _hpet = new Hpet(_clock, i => _lines[i]);
        _pit = _hpet.Replace(_lines[0]);
        _ = _hpet.Replace(_lines[8]);
    }

    [Fact]
    public void Its_capabilities_are_those_of_its_table()
    {
        Assert.Equal(0x8086_A201u, (uint)Get(0));
        Assert.Equal(10_000_000u, (uint)(Get(0) >> 32));
        Assert.Equal(10_000_000u, _hpet.Read(4, 4));
        Assert.Equal(Hpet.Routes, _hpet.Read(0x104, 4));
        Assert.Equal(0x30u, _hpet.Read(0x100, 4));
    }

    [Fact]
    public void The_counter_runs_while_it_is_enabled_and_takes_a_value()
    {
        _clock.Advance(1000);
        Assert.Equal(0u, Get(Counter));
        Set(Configuration, 1);
        _clock.Advance(100 * Tick);
        Assert.Equal(100u, Get(Counter));
        Set(Configuration, 0);
        _clock.Advance(1000);
        Assert.Equal(100u, Get(Counter));
        Set(Counter, 0xFFFF_FFFF_FFFF_FFF0);
        Set(Configuration, 1);
        _clock.Advance(32 * Tick);
        Assert.Equal(16u, Get(Counter));
    }

    [Fact]
    public void A_comparator_strikes_once()
    {
        Set(0x108, 500);
        Set(0x100, (20 << 9) | 4);
        Set(Configuration, 1);
        _clock.Advance(499 * Tick);
        Assert.Equal(0, _lines[20].Rises);
        _clock.Advance(Tick);
        Assert.Equal(1, _lines[20].Rises);
        Assert.False(_lines[20].Level);
        _clock.Advance(5000 * Tick);
        Assert.Equal(1, _lines[20].Rises);
    }

    [Fact]
    public void A_level_stays_until_its_status_is_cleared()
    {
        Set(0x128, 10);
        Set(0x120, (21 << 9) | 4 | 2);
        Set(Configuration, 1);
        _clock.Advance(10 * Tick);
        Assert.True(_lines[21].Level);
        Assert.Equal(2u, Get(Status));
        Set(Status, 2);
        Assert.False(_lines[21].Level);
        Assert.Equal(0u, Get(Status));
    }

    [Fact]
    public void A_periodic_comparator_takes_its_first_match_and_then_its_period()
    {
        Set(Configuration, 1);
        Set(0x100, (20 << 9) | 4 | 8 | 0x40);
        Set(0x108, 1000);
        Set(0x108, 100);
        _clock.Advance(1000 * Tick);
        Assert.Equal(1, _lines[20].Rises);
        for (int i = 0; i < 10; i++)
            _clock.Advance(100 * Tick);
        Assert.Equal(11, _lines[20].Rises);
        Assert.Equal(2100u, Get(0x108));
    }

    [Fact]
    public void With_32_bits_it_strikes_each_round()
    {
        Set(0x100, (20 << 9) | 4 | 0x100);
        Set(0x108, 5);
        Set(Counter, 0xFFFF_FFFE);
        Set(Configuration, 1);
        _clock.Advance(7 * Tick);
        Assert.Equal(1, _lines[20].Rises);
        _clock.Advance((1L << 32) * Tick);
        Assert.Equal(2, _lines[20].Rises);
    }

    [Fact]
    public void It_replaces_the_interval_timer_when_the_guest_says_so()
    {
        _pit.Set(true);
        Assert.True(_lines[0].Level);
        Set(Configuration, 2);
        Assert.False(_lines[0].Level);
        Set(0x108, 10);
        Set(0x100, 4);
        Set(Configuration, 3);
        int before = _lines[0].Rises;
        _clock.Advance(10 * Tick);
        Assert.Equal(before + 1, _lines[0].Rises);
        Set(Configuration, 0);
        Assert.True(_lines[0].Level);
    }

    public void Dispose() => _hpet.Dispose();

    private ulong Get(ulong register) => _hpet.Read(register, 8);

    private void Set(ulong register, ulong value) => _hpet.Write(register, 8, value);
}
