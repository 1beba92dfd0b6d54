using Doppel.Host.Timers;

namespace Doppel.Host.Threads;

/// <summary>The host's processor time of threads.</summary>
public static unsafe class ThreadTime
{
    /// <summary>CLOCK_THREAD_CPUTIME_ID.</summary>
    internal const int Clock = 3;

    /// <summary>What the calling thread has used, in the kernel and as a guest's vCPU too; not the time in which others had the processor.</summary>
    /// <exception cref="HostException">The host refuses.</exception>
    public static TimeSpan Used
    {
        get
        {
            TimeSpecification time;
            _ = HostError.Check(ThreadCalls.GetTime(Clock, &time), "clock_gettime", "of a thread");
            return TimeSpan.FromSeconds(time.Seconds) + TimeSpan.FromTicks(time.Nanoseconds / TimeSpan.NanosecondsPerTick);
        }
    }
}
