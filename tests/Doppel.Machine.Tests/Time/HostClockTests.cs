using System.Diagnostics;
using Doppel.Machine.State;
using Doppel.Machine.Time;

namespace Doppel.Machine.Tests.Time;

public sealed class HostClockTests
{
    private readonly Lock _lock = new();

    [Fact]
    public void Time_stands_until_resumed_and_after_a_pause()
    {
        using var clock = new HostClock(_lock);
        Assert.Equal(0, clock.Now);
        Assert.False(clock.IsRunning);
        clock.Resume();
        long first = clock.Now;
        long second = clock.Now;
        Assert.True(second >= first);
        clock.Pause();
        long stopped = clock.Now;
        Assert.True(stopped >= second);
        Assert.Equal(stopped, clock.Now);
        Assert.Equal((ulong)stopped, clock.Tsc);
        clock.Resume();
        Assert.True(clock.Now >= stopped);
    }

    [Fact]
    public void Guest_time_runs_at_the_hosts_rate()
    {
        using var clock = new HostClock(_lock, 2_500_000_000);
        clock.Resume();
        // The guest's interval lies between two of the host's that enclose it, however slow this machine is.
        long a = Stopwatch.GetTimestamp();
        long g0 = clock.Now;
        long b = Stopwatch.GetTimestamp();
        using var fired = new ManualResetEventSlim();
        using IGuestTimer timer = clock.CreateTimer("t", fired.Set);
        timer.Arm(g0 + 20_000_000);
        fired.Wait();
        long c = Stopwatch.GetTimestamp();
        long g1 = clock.Now;
        ulong tsc = clock.Tsc;
        long g2 = clock.Now;
        long d = Stopwatch.GetTimestamp();
        Assert.InRange(g1 - g0, c - b, d - a);
        Assert.InRange(tsc, (ulong)(g1 * 2.5 * 0.999999), (ulong)(g2 * 2.5 * 1.000001));
    }

    [Fact]
    public void Timers_fire_not_before_their_deadline_with_the_io_lock_held()
    {
        using var clock = new HostClock(_lock);
        using var fired = new ManualResetEventSlim();
        long at = 0;
        bool held = false;
        using IGuestTimer timer = clock.CreateTimer("t", () =>
        {
            at = clock.Now;
            held = _lock.IsHeldByCurrentThread;
            fired.Set();
        });
        clock.Resume();
        long deadline = clock.Now + 3_000_000;
        timer.Arm(deadline);
        fired.Wait();
        Assert.True(at >= deadline);
        Assert.True(held);
        Assert.Null(timer.Deadline);
    }

    [Fact]
    public void An_earlier_timer_overtakes_one_that_is_waited_for()
    {
        using var clock = new HostClock(_lock);
        using var fired = new ManualResetEventSlim();
        using IGuestTimer late = clock.CreateTimer("late", () => { });
        using IGuestTimer early = clock.CreateTimer("early", fired.Set);
        clock.Resume();
        late.Arm(long.MaxValue);
        early.Arm(clock.Now + 1000);
        fired.Wait();
        Assert.Equal(long.MaxValue, late.Deadline);
    }

    [Fact]
    public void A_timer_armed_in_a_pause_fires_after_it()
    {
        using var clock = new HostClock(_lock);
        using var fired = new ManualResetEventSlim();
        using IGuestTimer timer = clock.CreateTimer("t", fired.Set);
        timer.Arm(0);
        clock.Resume();
        fired.Wait();
        clock.Pause();
        fired.Reset();
        timer.Arm(clock.Now + 1);
        Assert.NotNull(timer.Deadline);
        clock.Resume();
        fired.Wait();
    }

    [Fact]
    public void A_fault_in_a_callback_is_reported_with_the_timers_name()
    {
        using var reported = new ManualResetEventSlim();
        Exception? fault = null;
        using var clock = new HostClock(_lock, onFault: e =>
        {
            fault = e;
            reported.Set();
        });
        using IGuestTimer timer = clock.CreateTimer("rtc", () => throw new InvalidOperationException("broken"));
        clock.Resume();
        timer.Arm(0);
        reported.Wait();
        Assert.Equal("timer rtc: broken", fault!.Message);
    }

    [Fact]
    public void Many_threads_arm_and_every_timer_fires()
    {
        using var clock = new HostClock(_lock);
        clock.Resume();
        const int Count = 64;
        using var all = new CountdownEvent(Count);
        IGuestTimer[] timers = [.. Enumerable.Range(0, Count).Select(i => clock.CreateTimer($"t{i}", () => all.Signal()))];
        Parallel.For(0, Count, i => timers[i].Arm(clock.Now + (i * 37 % 64 * 10_000)));
        all.Wait();
        Assert.All(timers, t => Assert.Null(t.Deadline));
    }

    [Fact]
    public void Time_is_restored_only_while_paused()
    {
        using var clock = new HostClock(_lock);
        byte[] saved = BitConverter.GetBytes(5_000_000_000L);
        clock.Restore(new StateReader(saved), 1);
        Assert.Equal(5_000_000_000, clock.Now);
        clock.Resume();
        Assert.True(clock.Now >= 5_000_000_000);
        Assert.Throws<InvalidOperationException>(() => clock.Restore(new StateReader(saved), 1));
        clock.Pause();
        var writer = new StateWriter();
        clock.Save(writer);
        Assert.Equal(clock.Now, BitConverter.ToInt64(writer.ToArray()));
    }

    [Fact]
    public void Disposal_ends_the_thread_and_may_be_repeated()
    {
        var clock = new HostClock(_lock);
        clock.Resume();
        clock.Dispose();
        clock.Dispose();
        Assert.False(clock.IsRunning);
    }
}
