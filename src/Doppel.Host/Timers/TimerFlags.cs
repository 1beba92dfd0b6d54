using System.Runtime.InteropServices;

namespace Doppel.Host.Timers;

/// <summary>Constants of clock_gettime(2) and timerfd_create(2).</summary>
internal static class TimerFlags
{
    internal const int ClockMonotonic = 1;
    internal const int CloseOnExec = 0x80000;
    internal const int AbsoluteTime = 1;
    internal const int Interrupted = 4;
}

/// <summary>struct timespec on x86-64.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct TimeSpecification
{
    internal long Seconds;
    internal long Nanoseconds;
}

/// <summary>struct itimerspec on x86-64.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct IntervalSpecification
{
    internal TimeSpecification Interval;
    internal TimeSpecification Value;
}
