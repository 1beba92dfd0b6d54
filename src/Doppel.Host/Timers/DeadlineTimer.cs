using System.Diagnostics;
using System.Runtime.InteropServices;

namespace Doppel.Host.Timers;

/// <summary>
/// A timer of the kernel (timerfd on CLOCK_MONOTONIC) that one thread waits for and any thread sets. Deadlines are on
/// the scale of <see cref="Now"/>. The kernel's timer slack does not apply to it, so it wakes within microseconds.
/// </summary>
public sealed unsafe class DeadlineTimer : IDisposable
{
    private const long NanosecondsPerSecond = 1_000_000_000;
    private readonly int _descriptor;
    private int _isDisposed;

    /// <summary>Creates a disarmed timer.</summary>
    /// <exception cref="HostException">The host refuses.</exception>
    public DeadlineTimer() =>
        _descriptor = (int)HostError.Check(LibC.TimerFdCreate(TimerFlags.ClockMonotonic, TimerFlags.CloseOnExec), "timerfd_create", "on CLOCK_MONOTONIC");

    /// <summary>Nanoseconds of CLOCK_MONOTONIC.</summary>
    public static long Now => Stopwatch.GetTimestamp();

    /// <summary>Sets the deadline; one that has passed ends the wait at once. Replaces an earlier one, also under a thread that waits. Any thread.</summary>
    /// <param name="deadline">On the scale of <see cref="Now"/>.</param>
    /// <exception cref="HostException">The host refuses.</exception>
    public void Set(long deadline)
    {
        // A value of zero would disarm.
        deadline = Math.Max(deadline, 1);
        IntervalSpecification specification = default;
        specification.Value.Seconds = deadline / NanosecondsPerSecond;
        specification.Value.Nanoseconds = deadline % NanosecondsPerSecond;
        SetTime(&specification, $"to {deadline} ns");
    }

    /// <summary>Removes the deadline: a wait goes on until <see cref="Set"/>. Any thread.</summary>
    public void Clear()
    {
        IntervalSpecification specification = default;
        SetTime(&specification, "to nothing");
    }

    /// <summary>Blocks until the deadline that is set has passed. One thread.</summary>
    /// <exception cref="HostException">The host refuses.</exception>
    public void Wait()
    {
        ulong expirations;
        while (LibC.Read(_descriptor, &expirations, sizeof(ulong)) == -1)
        {
            if (Marshal.GetLastPInvokeError() != TimerFlags.Interrupted)
                HostError.Throw("read", "of a timer");
        }
    }

    /// <summary>Closes the timer. No thread may be waiting.</summary>
    public void Dispose()
    {
        if (Interlocked.Exchange(ref _isDisposed, 1) == 0)
            _ = LibC.Close(_descriptor);
    }

    private void SetTime(IntervalSpecification* specification, string detail) =>
        _ = HostError.Check(LibC.TimerFdSetTime(_descriptor, TimerFlags.AbsoluteTime, specification, null), "timerfd_settime", detail);
}
