namespace Doppel.Machine.Time;

/// <summary>
/// The machine's time. Two sources: the host's monotonic clock, and the count of retired instructions, which is
/// deterministic. It stands still while the VM is paused. Any thread may read it.
/// </summary>
public interface IGuestClock
{
    /// <summary>Nanoseconds of guest time since power-on.</summary>
    long Now { get; }

    /// <summary>Time stamp counter ticks since power-on, before a vCPU's offset.</summary>
    ulong Tsc { get; }

    /// <summary>Ticks of the TSC in a second; constant.</summary>
    ulong TscFrequency { get; }

    /// <summary>Wall-clock time at guest time <see cref="Now"/>, for the RTC.</summary>
    DateTimeOffset WallClock { get; }

    /// <summary>Creates a disarmed timer. The callback runs with the machine's I/O lock held, on the clock's thread or (deterministic) on a vCPU's.</summary>
    IGuestTimer CreateTimer(string name, Action callback);

    /// <summary>True when time is the count of retired instructions.</summary>
    bool IsDeterministic { get; }
}

/// <summary>A one-shot timer on a <see cref="IGuestClock"/>. Any thread.</summary>
public interface IGuestTimer : IDisposable
{
    /// <summary>Fires once at or soon after the given guest time in nanoseconds; a past time fires at once. Replaces an earlier deadline.</summary>
    void Arm(long deadline);

    /// <summary>Forgets the deadline. A callback that has begun may still finish.</summary>
    void Disarm();

    /// <summary>The deadline, or null when disarmed.</summary>
    long? Deadline { get; }
}
