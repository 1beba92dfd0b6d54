namespace Doppel.Vmm.Execution;

/// <summary>Stops and releases the vCPU threads of a machine. Any thread.</summary>
internal sealed class RunGate
{
    private readonly object _lock = new();
    private int _running;
    private TaskCompletionSource _stopped = Completed();
    private volatile bool _isClosing;
    private volatile bool _isThrottled;

    /// <summary>True from <see cref="CloseAsync"/> to <see cref="Open"/>, and while vCPUs are throttled: a vCPU thread must call <see cref="Pass"/> soon.</summary>
    internal bool IsClosing => _isClosing || _isThrottled;

    /// <summary>A vCPU thread starts; it runs until <see cref="Leave"/> but for the time in <see cref="Pass"/>.</summary>
    /// <param name="isHeld">True while this thread must wait though others run.</param>
    /// <param name="isOver">True when there is nothing to wait for any more; <see cref="Wake"/> must follow.</param>
    internal void Enter(Func<bool> isHeld, Func<bool> isOver)
    {
        lock (_lock)
        {
            while ((_isClosing || _isThrottled || isHeld()) && !isOver())
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

    /// <summary>Called by a vCPU thread: waits while the gate is closed, as in <see cref="Enter"/>.</summary>
    /// <param name="isHeld">As in <see cref="Enter"/>.</param>
    /// <param name="isOver">As in <see cref="Enter"/>.</param>
    /// <param name="leaving">Called before the thread counts as standing still.</param>
    internal void Pass(Func<bool> isHeld, Func<bool> isOver, Action? leaving = null)
    {
        if (!_isClosing && !_isThrottled && !isHeld())
            return;
        leaving?.Invoke();
        Leave();
        Enter(isHeld, isOver);
    }

    /// <summary>Makes threads that wait look again whether all is over.</summary>
    internal void Wake()
    {
        lock (_lock)
            Monitor.PulseAll(_lock);
    }

    /// <summary>Makes vCPU threads wait (the caller kicks the vCPUs afterwards), or lets them go on, beside what else makes them wait.</summary>
    internal void Throttle(bool isThrottled)
    {
        lock (_lock)
        {
            _isThrottled = isThrottled;
            Monitor.PulseAll(_lock);
        }
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
