using System.Diagnostics;

namespace Doppel.Vmm.Migration;

/// <summary>The latest progress of a migration, for those who wait for the next. Any thread.</summary>
internal sealed class ProgressLog
{
    private readonly Lock _lock = new();
    private readonly long _begin = Stopwatch.GetTimestamp();
    private TaskCompletionSource _next = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private MigrationProgress _latest = new() { Sequence = 1, Phase = MigrationPhase.Checking };

    internal MigrationProgress Latest
    {
        get
        {
            lock (_lock)
                return _latest;
        }
    }

    /// <summary>Changes it.</summary>
    internal void Update(Func<MigrationProgress, MigrationProgress> change)
    {
        TaskCompletionSource told;
        lock (_lock)
        {
            if (_latest.IsOver)
                return;
            _latest = change(_latest) with { Sequence = _latest.Sequence + 1, Seconds = Stopwatch.GetElapsedTime(_begin).TotalSeconds };
            told = _next;
            _next = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        }

        told.SetResult();
    }

    /// <summary>Waits for one behind a sequence number.</summary>
    internal async Task<MigrationProgress> WaitAsync(long after, CancellationToken cancel)
    {
        while (true)
        {
            Task next;
            lock (_lock)
            {
                if (_latest.Sequence > after || _latest.IsOver)
                    return _latest;
                next = _next.Task;
            }

            await next.WaitAsync(cancel).ConfigureAwait(false);
        }
    }
}
