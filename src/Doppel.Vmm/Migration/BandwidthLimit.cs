using System.Diagnostics;

namespace Doppel.Vmm.Migration;

/// <summary>Makes senders wait so that together they stay below so many bytes a second. Any thread.</summary>
/// <param name="bytesPerSecond">The limit; 0 for none.</param>
internal sealed class BandwidthLimit(ulong bytesPerSecond)
{
    // What was saved up while nothing was sent is worth at most this long.
    private static readonly TimeSpan Burst = TimeSpan.FromMilliseconds(20);
    private readonly Lock _lock = new();
    private long _paidUntil = Stopwatch.GetTimestamp();
    private bool _isLifted = bytesPerSecond == 0;

    /// <summary>Nobody waits from now on.</summary>
    internal void Lift() => Volatile.Write(ref _isLifted, true);

    /// <summary>Completes when so many bytes may be sent.</summary>
    internal Task WaitAsync(int bytes, CancellationToken cancel)
    {
        if (Volatile.Read(ref _isLifted))
            return Task.CompletedTask;
        TimeSpan wait;
        lock (_lock)
        {
            long now = Stopwatch.GetTimestamp();
            _paidUntil = Math.Max(_paidUntil, now - (long)(Burst.TotalSeconds * Stopwatch.Frequency)) + (long)((double)bytes / bytesPerSecond * Stopwatch.Frequency);
            wait = TimeSpan.FromSeconds((double)(_paidUntil - now) / Stopwatch.Frequency);
        }

        return wait > TimeSpan.FromMilliseconds(1) ? Task.Delay(wait, cancel) : Task.CompletedTask;
    }
}
