namespace Doppel.Devices.Storage;

/// <summary>Makes the operations of a disk wait so that together they stay below its limits. Any thread.</summary>
internal sealed class BlockLimiter : IAsyncDisposable
{
    private readonly RateLimit _bytes = new(), _operations = new();
    private readonly Lock _lock = new();
    private TaskCompletionSource _hurry = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private TaskCompletionSource? _empty;
    private int _waiting;

    /// <summary>Sets the limits; 0 for none. What waits goes on at once.</summary>
    internal void Set(ulong bytesPerSecond, int operationsPerSecond)
    {
        _bytes.PerSecond = bytesPerSecond;
        _operations.PerSecond = operationsPerSecond;
        Hurry();
    }

    /// <summary>Takes an operation.</summary>
    /// <returns>How long it is to wait; zero for not at all.</returns>
    internal TimeSpan Take(long bytes)
    {
        TimeSpan first = _bytes.Take(bytes), second = _operations.Take(1);
        return first > second ? first : second;
    }

    /// <summary>Lets what waits go on at once, since somebody waits for its end: it stays taken.</summary>
    internal void Hurry()
    {
        TaskCompletionSource hurry;
        lock (_lock)
        {
            hurry = _hurry;
            _hurry = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        }

        hurry.SetResult();
    }

    /// <summary>Begins an operation when it may.</summary>
    /// <param name="wait">How long it is to wait.</param>
    /// <param name="begin">Begins it.</param>
    /// <param name="cancel">Ends the wait.</param>
    internal async ValueTask LaterAsync(TimeSpan wait, Func<ValueTask> begin, CancellationToken cancel)
    {
        Task hurry;
        lock (_lock)
        {
            _waiting++;
            hurry = _hurry.Task;
        }

        try
        {
            // The time may come, or the hurry.
            await hurry.WaitAsync(wait, cancel).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            cancel.ThrowIfCancellationRequested();
            await begin().ConfigureAwait(false);
        }
        finally
        {
            lock (_lock)
            {
                if (--_waiting == 0)
                    _empty?.SetResult();
            }
        }
    }

    /// <summary>Waits for what waits; nothing new comes.</summary>
    public async ValueTask DisposeAsync()
    {
        Task empty;
        lock (_lock)
        {
            if (_waiting == 0)
                return;
            _empty ??= new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
            empty = _empty.Task;
        }

        Hurry();
        await empty.ConfigureAwait(false);
    }
}
