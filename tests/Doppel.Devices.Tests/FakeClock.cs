using Doppel.Machine.Time;

namespace Doppel.Devices.Tests;

/// <summary>A clock that a test moves by hand. Timers fire in order, each at its own deadline unless the test is late on purpose.</summary>
public sealed class FakeClock : IGuestClock
{
    private readonly List<Timer> _timers = [];

    public long Now { get; private set; }

    public ulong Tsc => (ulong)Now;

    public ulong TscFrequency => 1_000_000_000;

    public DateTimeOffset Start { get; init; } = new(2024, 2, 28, 23, 59, 50, TimeSpan.Zero);

    public DateTimeOffset WallClock => Start.AddTicks(Now / 100);

    public bool IsDeterministic => true;

    public IEnumerable<(string Name, long? Deadline)> Timers => _timers.Select(t => (t.Name, t.Deadline));

    public IGuestTimer CreateTimer(string name, Action callback)
    {
        var timer = new Timer(this, name, callback);
        _timers.Add(timer);
        return timer;
    }

    public void Advance(long nanoseconds)
    {
        long end = Now + nanoseconds;
        while (Next(end) is Timer timer)
        {
            Now = Math.Max(Now, timer.Deadline!.Value);
            timer.Fire();
        }

        Now = end;
    }

    /// <summary>Moves time as a host does that was busy elsewhere: timers fire only at the end.</summary>
    public void AdvanceLate(long nanoseconds)
    {
        Now += nanoseconds;
        Advance(0);
    }

    private Timer? Next(long end) =>
        _timers.Where(t => t.Deadline <= end).OrderBy(t => t.Deadline).FirstOrDefault();

    private sealed class Timer(FakeClock clock, string name, Action callback) : IGuestTimer
    {
        public string Name => name;

        public long? Deadline { get; private set; }

        public void Arm(long deadline) => Deadline = deadline;

        public void Disarm() => Deadline = null;

        public void Fire()
        {
            Deadline = null;
            callback();
        }

        public void Dispose() => clock._timers.Remove(this);
    }
}
