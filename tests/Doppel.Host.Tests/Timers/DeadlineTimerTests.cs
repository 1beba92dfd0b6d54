using System.Runtime.InteropServices;
using Doppel.Host.Timers;

namespace Doppel.Host.Tests.Timers;

public sealed class DeadlineTimerTests
{
    [Fact]
    public void Constants_and_structures_are_those_of_the_c_compiler()
    {
        long[] values = CProgram.Evaluate(
            ["time.h", "errno.h", "sys/timerfd.h"],
            [
                "CLOCK_MONOTONIC",
                "TFD_CLOEXEC",
                "TFD_TIMER_ABSTIME",
                "EINTR",
                "sizeof(struct timespec)",
                "offsetof(struct timespec, tv_nsec)",
                "sizeof(struct itimerspec)",
                "offsetof(struct itimerspec, it_interval)",
                "offsetof(struct itimerspec, it_value)",
            ]);
        long[] ours =
        [
            TimerFlags.ClockMonotonic,
            TimerFlags.CloseOnExec,
            TimerFlags.AbsoluteTime,
            TimerFlags.Interrupted,
            Marshal.SizeOf<TimeSpecification>(),
            Marshal.OffsetOf<TimeSpecification>(nameof(TimeSpecification.Nanoseconds)),
            Marshal.SizeOf<IntervalSpecification>(),
            Marshal.OffsetOf<IntervalSpecification>(nameof(IntervalSpecification.Interval)),
            Marshal.OffsetOf<IntervalSpecification>(nameof(IntervalSpecification.Value)),
        ];
        Assert.Equal(values, ours);
    }

    [Fact]
    public void Now_counts_nanoseconds() => Assert.Equal(1_000_000_000, System.Diagnostics.Stopwatch.Frequency);

    [Fact]
    public void A_wait_ends_after_the_deadline_and_not_before()
    {
        using var timer = new DeadlineTimer();
        long deadline = DeadlineTimer.Now + 2_000_000;
        timer.Set(deadline);
        timer.Wait();
        Assert.True(DeadlineTimer.Now >= deadline);
    }

    [Fact]
    public void A_deadline_in_the_past_ends_the_wait_at_once()
    {
        using var timer = new DeadlineTimer();
        timer.Set(0);
        timer.Wait();
        timer.Set(-5);
        timer.Wait();
        Assert.True(DeadlineTimer.Now > 0);
    }

    [Fact]
    public void Setting_an_earlier_deadline_wakes_a_thread_that_waits()
    {
        using var timer = new DeadlineTimer();
        timer.Set(long.MaxValue);
        var thread = new Thread(timer.Wait);
        thread.Start();
        timer.Set(DeadlineTimer.Now + 100_000);
        thread.Join();
        Assert.False(thread.IsAlive);
    }
}
