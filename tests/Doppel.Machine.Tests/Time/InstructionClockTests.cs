using Doppel.Machine.State;
using Doppel.Machine.Time;

namespace Doppel.Machine.Tests.Time;

public sealed class InstructionClockTests
{
    private readonly Lock _lock = new();
    private readonly InstructionClock _clock;

    public InstructionClockTests() => _clock = new InstructionClock(_lock);

    [Fact]
    public void Time_is_the_count_of_instructions()
    {
        _clock.Advance(2_000_000_000);
        Assert.Equal(2_000_000_000, _clock.Now);
        Assert.Equal(2 * _clock.TscFrequency, _clock.Tsc);
        Assert.Equal(InstructionClock.DefaultEpoch.AddSeconds(2), _clock.WallClock);
        ulong inFlight = 7;
        _clock.InFlight = () => inFlight;
        Assert.Equal(2_000_000_007, _clock.Now);
    }

    [Fact]
    public void Timers_fire_in_run_due_with_the_io_lock_held()
    {
        bool held = false;
        IGuestTimer timer = _clock.CreateTimer("t", () => held = _lock.IsHeldByCurrentThread);
        timer.Arm(100);
        Assert.Equal(100ul, _clock.InstructionsUntilNextDeadline);
        _clock.Advance(99);
        Assert.Equal(0, _clock.RunDue());
        _clock.Advance(1);
        Assert.Equal(0ul, _clock.InstructionsUntilNextDeadline);
        Assert.Equal(1, _clock.RunDue());
        Assert.True(held);
        Assert.Equal(ulong.MaxValue, _clock.InstructionsUntilNextDeadline);
    }

    [Fact]
    public void A_timer_that_rearms_itself_for_now_does_not_hang_the_loop()
    {
        int count = 0;
        IGuestTimer? timer = null;
        timer = _clock.CreateTimer("t", () =>
        {
            count++;
            timer!.Arm(0);
        });
        timer.Arm(0);
        Assert.Equal(1, _clock.RunDue());
        Assert.Equal(1, _clock.RunDue());
        Assert.Equal(2, count);
    }

    [Fact]
    public void Halting_skips_to_the_next_deadline()
    {
        Assert.False(_clock.SkipToNextDeadline());
        int count = 0;
        using IGuestTimer timer = _clock.CreateTimer("t", () => count++);
        timer.Arm(1_000_000);
        Assert.True(_clock.SkipToNextDeadline());
        Assert.Equal(1, count);
        Assert.Equal(1_000_000, _clock.Now);
    }

    [Fact]
    public void An_earlier_deadline_is_announced_and_a_later_one_is_not()
    {
        int moved = 0;
        _clock.DeadlineMoved = () => moved++;
        IGuestTimer a = _clock.CreateTimer("a", () => { }), b = _clock.CreateTimer("b", () => { });
        a.Arm(100);
        b.Arm(200);
        Assert.Equal(1, moved);
        b.Arm(50);
        Assert.Equal(2, moved);
    }

    [Fact]
    public void Time_is_saved()
    {
        _clock.Advance(12345);
        var writer = new StateWriter();
        _clock.Save(writer);
        var other = new InstructionClock(new Lock());
        other.Restore(new StateReader(writer.ToArray()), 1);
        Assert.Equal(12345, other.Now);
        Assert.Throws<InvalidDataException>(() => other.Restore(new StateReader(new byte[] { 0, 0, 0, 0, 0, 0, 0, 0x80 }), 1));
    }
}
