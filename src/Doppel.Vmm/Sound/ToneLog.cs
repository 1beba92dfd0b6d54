using Doppel.Devices.Pc;

namespace Doppel.Vmm.Sound;

/// <summary>Keeps the last tones of a machine's speaker. Any thread.</summary>
internal sealed class ToneLog
{
    /// <summary>Most tones that are kept.</summary>
    internal const int Most = 64;

    private readonly Lock _lock = new();
    private readonly Queue<HeardTone> _tones = new();
    private long _sequence;
    private TaskCompletionSource _changed = new(TaskCreationOptions.RunContinuationsAsynchronously);

    /// <summary>Adds one that has just ended.</summary>
    internal void Add(SpeakerTone tone)
    {
        TimeSpan duration = TimeSpan.FromTicks(tone.Duration / TimeSpan.NanosecondsPerTick);
        TaskCompletionSource changed;
        lock (_lock)
        {
            if (_tones.Count == Most)
                _ = _tones.Dequeue();
            _tones.Enqueue(new HeardTone(DateTimeOffset.UtcNow - duration, Math.Round(tone.Hertz, 1), duration.TotalSeconds));
            _sequence++;
            changed = _changed;
            _changed = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        }

        changed.SetResult();
    }

    /// <summary>Waits for tones behind one.</summary>
    /// <param name="known">That one's number; negative for only the newest number, at once.</param>
    /// <param name="cancel">Ends the wait.</param>
    internal async Task<HeardTones> WaitAsync(long known, CancellationToken cancel)
    {
        while (true)
        {
            Task changed;
            lock (_lock)
            {
                if (known < 0)
                    return new HeardTones(_sequence, []);
                if (known < _sequence)
                    return new HeardTones(_sequence, [.. _tones.TakeLast((int)Math.Min(_sequence - known, Most))]);
                changed = _changed.Task;
            }

            await changed.WaitAsync(cancel).ConfigureAwait(false);
        }
    }
}
