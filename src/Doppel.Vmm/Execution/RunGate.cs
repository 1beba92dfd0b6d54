namespace Doppel.Vmm.Execution;

/// <summary>Stops and releases the vCPU threads of a machine. Any thread.</summary>
internal sealed class RunGate
{
    private readonly object _lock = new();
    private int _running;
    private TaskCompletionSource _stopped = Completed();
    private volatile bool _isClosing;

    /// <summary>True from <see cref="CloseAsync"/> to <see cref="Open"/>: a vCPU thread must call <see cref="Pass"/> soon.</summary>
    internal bool IsClosing => _isClosing;

    /// <summary>A vCPU thread starts; it runs until <see cref="Leave"/> but for the time in <see cref="Pass"/>.</summary>
    internal void Enter()
    {
        lock (_lock)
        {
            while (_isClosing)
                _ = Monitor.Wait(_lock);
            _running++;
        }
    }

    /// <summary>A vCPU thread ends.</summary>
    internal void Leave()
    {
        lock (_lock)
        {
            _running--;
            if (_running == 0)
                _ = _stopped.TrySetResult();
        }
    }

    /// <summary>Called by a vCPU thread: waits while the gate is closed.</summary>
    internal void Pass()
    {
        if (!_isClosing)
            return;
        Leave();
        Enter();
    }

    /// <summary>Closes the gate; completes when no vCPU thread runs. The caller kicks the vCPUs afterwards.</summary>
    internal Task CloseAsync()
    {
        lock (_lock)
        {
            if (!_isClosing)
            {
                _isClosing = true;
                _stopped = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
            }

            if (_running == 0)
                _ = _stopped.TrySetResult();
            return _stopped.Task;
        }
    }

    /// <summary>Lets the vCPU threads go on.</summary>
    internal void Open()
    {
        lock (_lock)
        {
            _isClosing = false;
            Monitor.PulseAll(_lock);
        }
    }

    private static TaskCompletionSource Completed()
    {
        var done = new TaskCompletionSource();
        done.SetResult();
        return done;
    }
}
