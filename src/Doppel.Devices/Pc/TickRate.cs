namespace Doppel.Devices.Pc;

/// <summary>
/// Converts guest time to the ticks of an oscillator and back, exactly: tick n begins at the first nanosecond at
/// which <see cref="TicksAt"/> is n, so that periodic deadlines do not drift.
/// </summary>
/// <param name="frequency">Ticks in a second, 1 to 4,000,000,000.</param>
public readonly struct TickRate(long frequency)
{
    private const long Second = 1_000_000_000;

    /// <summary>Ticks in a second.</summary>
    public long Frequency => frequency;

    /// <summary>Whole ticks since guest time 0.</summary>
    /// <param name="nanoseconds">Guest time, from 0.</param>
    public long TicksAt(long nanoseconds) =>
        (nanoseconds / Second * frequency) + (nanoseconds % Second * frequency / Second);

    /// <summary>The first nanosecond of a tick; <see cref="long.MaxValue"/> when it lies beyond what a clock can show.</summary>
    public long TimeOf(long tick)
    {
        long seconds = tick / frequency;
        if (seconds >= long.MaxValue / Second - 1)
            return long.MaxValue;
        return (seconds * Second) + (((tick % frequency * Second) + frequency - 1) / frequency);
    }
}
