using Doppel.Machine.Time;

namespace Doppel.Machine.Tests.Time;

public sealed class VirtualTimerQueueTests
{
    [Fact]
    public void Random_arming_and_disarming_fires_in_order()
    {
        int seed = Random.Shared.Next();
        var random = new Random(seed);
        var clock = new InstructionClock(new Lock());
        var fired = new List<int>();
        var expected = new Dictionary<int, (long Due, long Order)>();
        IGuestTimer[] timers = [.. Enumerable.Range(0, 50).Select(i => clock.CreateTimer($"t{i}", () => fired.Add(i)))];
        long order = 0;
        for (int step = 0; step < 2000; step++)
        {
            int i = random.Next(timers.Length);
            if (random.Next(3) == 0)
            {
                timers[i].Disarm();
                _ = expected.Remove(i);
                Assert.Null(timers[i].Deadline);
                continue;
            }

            long due = random.Next(0, 100);
            timers[i].Arm(due);
            expected[i] = (due, order++);
            Assert.Equal(due, timers[i].Deadline);
            Assert.Equal(expected.Values.Min(e => e.Due), clock.NextDeadline);
        }

        clock.Advance(100);
        Assert.Equal(expected.Count, clock.RunDue());
        int[] wanted = [.. expected.OrderBy(e => e.Value).Select(e => e.Key)];
        Assert.True(wanted.SequenceEqual(fired), $"seed {seed}: {string.Join(' ', fired)} instead of {string.Join(' ', wanted)}");
        Assert.Null(clock.NextDeadline);
    }

    [Fact]
    public void A_disposed_timer_stays_disarmed()
    {
        var clock = new InstructionClock(new Lock());
        IGuestTimer timer = clock.CreateTimer("t", () => { });
        timer.Arm(5);
        timer.Dispose();
        Assert.Null(timer.Deadline);
        timer.Arm(6);
        Assert.Null(clock.NextDeadline);
    }
}
