namespace Doppel.Devices.Storage.Images;

/// <summary>
/// Threads that may wait for a medium. They are the image's own: a thread pool that has few threads would let one slow
/// flush hold up everything else in the process. A thread is started when work finds all others busy.
/// </summary>
internal sealed class IoThreads(string name, int maximum)
{
    private readonly object _lock = new();
    private readonly Queue<IoOperation> _queue = new();
    private readonly TaskCompletionSource _stopped = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private int _threads;
    private int _idle;
    private bool _isStopping;

    /// <summary>Runs an action on one of the threads. What awaits it continues there.</summary>
    /// <param name="action">The action.</param>
    /// <param name="ended">Called before the task completes, also when the action was cancelled or failed; null for nothing.</param>
    /// <param name="cancel">Cancels the action as long as it has not begun.</param>
    internal ValueTask Run(Action action, Action? ended, CancellationToken cancel)
    {
        var operation = new IoOperation(action, ended, cancel);
        lock (_lock)
        {
            ObjectDisposedException.ThrowIf(_isStopping, this);
            _queue.Enqueue(operation);
            if (_queue.Count > _idle && _threads < maximum)
            {
                _threads++;
                new Thread(Work) { IsBackground = true, Name = name }.Start();
            }
            else
            {
                Monitor.Pulse(_lock);
            }
        }

        return operation.Task;
    }

    /// <summary>Takes no more work and completes when all has been done.</summary>
    internal Task StopAsync()
    {
        lock (_lock)
        {
            _isStopping = true;
            if (_threads == 0)
                _ = _stopped.TrySetResult();
            Monitor.PulseAll(_lock);
        }

        return _stopped.Task;
    }

    private void Work()
    {
        while (true)
        {
            IoOperation operation;
            lock (_lock)
            {
                while (_queue.Count == 0)
                {
                    if (_isStopping)
                    {
                        if (--_threads == 0)
                            _ = _stopped.TrySetResult();
                        return;
                    }

                    _idle++;
                    _ = Monitor.Wait(_lock);
                    _idle--;
                }

                operation = _queue.Dequeue();
            }

            operation.Run();
        }
    }
}
