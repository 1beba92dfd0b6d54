using System.Diagnostics;

namespace Doppel.Devices;

/// <summary>
/// A limit of so many units a second: a token bucket, kept as the moment until which what was taken is paid for. What is taken is
/// taken at once, and whoever takes it waits after that; so one unit of work may be larger than a second's worth. Any thread.
/// </summary>
public sealed class RateLimit
{
    // What was saved up while nothing was taken is worth at most this long.
    private static readonly long Burst = Stopwatch.Frequency / 20;
    private readonly Lock _lock = new();
    private readonly Func<long> _now;
    private double _perSecond;
    private long _paidUntil;

    /// <summary>Makes a limit.</summary>
    /// <param name="perSecond">Units a second; 0 for no limit.</param>
    /// <param name="now">The time, as <see cref="Stopwatch.GetTimestamp"/>; null for the host's.</param>
    public RateLimit(double perSecond = 0, Func<long>? now = null)
    {
        _now = now ?? Stopwatch.GetTimestamp;
        _perSecond = perSecond;
        _paidUntil = _now();
    }

    /// <summary>Units a second; 0 for no limit. What is owed when it changes is forgotten.</summary>
    public double PerSecond
    {
        get
        {
            lock (_lock)
                return _perSecond;
        }

        set
        {
            lock (_lock)
            {
                _perSecond = value;
                _paidUntil = _now();
            }
        }
    }

    /// <summary>How long to wait until what was taken is paid for; zero for not at all.</summary>
    public TimeSpan Owed
    {
        get
        {
            lock (_lock)
                return _perSecond == 0 ? TimeSpan.Zero : Until(_now());
        }
    }

    /// <summary>Takes units.</summary>
    /// <returns>How long to wait until they are paid for; zero for not at all.</returns>
    public TimeSpan Take(long units)
    {
        lock (_lock)
        {
            if (_perSecond == 0)
                return TimeSpan.Zero;
            long now = _now();
            _paidUntil = Math.Max(_paidUntil, now - Burst) + (long)(units / _perSecond * Stopwatch.Frequency);
            return Until(now);
        }
    }

    private TimeSpan Until(long now) => _paidUntil <= now ? TimeSpan.Zero : Stopwatch.GetElapsedTime(now, _paidUntil);
}
