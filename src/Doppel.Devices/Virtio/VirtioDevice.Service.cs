namespace Doppel.Devices.Virtio;

/// <content>The way of chains through the device.</content>
public abstract partial class VirtioDevice
{
    private VirtioQueue? _serving;

    // A chain can be returned as long as nobody has said that the guest's memory must stand still.
    private bool CanReturn => !_isHeld && !_isDisposed && (Status & VirtioStatus.NeedsReset) == 0;

    /// <summary>Chains that are worked on and kept back while the device is held, with the bytes that were written to each.</summary>
    protected IEnumerable<(int Queue, ushort Id, uint Written)> Kept => _kept.Select(chain => (chain.Queue, chain.Id, chain.Written));

    /// <summary>The transport may reach memory from now on, or no longer.</summary>
    internal void AllowMemory(bool allowed)
    {
        bool begins = allowed && !MayReachMemory;
        MayReachMemory = allowed;
        if (!begins)
            return;
        BeginAgain();
        Continue();
    }

    private static bool CanServe(VirtioQueue queue) => queue is { IsStarted: true, IsResetting: false };

    private bool CanChange(int index) =>
        (uint)index < (uint)_queues.Length && !_queues[index].IsEnabled && !_queues[index].IsResetting && !_isResetting;

    private void StartQueue(VirtioQueue queue)
    {
        if (!queue.IsEnabled || queue.IsStarted)
            return;
        queue.Start(DriverFeatures);
        CheckFault(queue);
    }

    /// <summary>Looks at all queues, after something has ended that kept the device from doing so.</summary>
    private void Continue()
    {
        foreach (VirtioQueue queue in _queues)
            Notify(queue.Index);
    }

    private void Serve(VirtioQueue queue)
    {
        if (!TakesAtOnce(queue.Index))
        {
            OnAvailable(queue);
            CheckFault(queue);
            return;
        }

        if (_serving == queue)
            return;
        VirtioQueue? outer = _serving;
        _serving = queue;
        try
        {
            queue.SetNotifications(false);
            do
            {
                while (IsRunning && queue.Take() is VirtioChain chain)
                    Handle(queue, chain);
                queue.SetNotifications(true);
                // What came before the driver could see that notifications are wanted again was not announced.
            }
            while (IsRunning && queue.Fault is null && queue.HasAvailable);
        }
        finally
        {
            _serving = outer;
        }

        CheckFault(queue);
        SignalIfWanted(queue);
    }

    private void SignalIfWanted(VirtioQueue queue)
    {
        if (CanReturn && queue.IsStarted && queue.TakeInterrupt())
            Interrupts?.SignalQueue(queue.Index);
    }

    private void CheckFault(VirtioQueue queue)
    {
        if (queue.Fault is string rule)
            Break($"queue {queue.Index}: {rule}");
    }

    /// <summary>Number of chains that the device has taken and that are not merely kept back.</summary>
    private int CountBusy() => _queues.Sum(queue => queue.TakenCount) - _kept.Count - _again.Count;

    private void NoteIdle()
    {
        if (_idle is null || CountBusy() != 0)
            return;
        _idle.SetResult();
        _idle = null;
    }

    private void DropKept(VirtioQueue queue)
    {
        foreach (VirtioChain chain in _kept.Concat(_again).Where(c => c.Queue == queue.Index).ToArray())
            queue.Forget(chain);
        _kept.RemoveAll(c => c.Queue == queue.Index);
        _again.RemoveAll(c => c.Queue == queue.Index);
    }

    private void ReturnKept()
    {
        VirtioChain[] kept = [.. _kept];
        _kept.Clear();
        foreach (VirtioChain chain in kept)
        {
            _queues[chain.Queue].Return(chain, chain.Written);
            SignalIfWanted(_queues[chain.Queue]);
        }
    }

    private void FinishResets()
    {
        foreach (VirtioQueue queue in _queues)
        {
            if (queue.IsResetting && !_isResetting && queue.TakenCount == 0)
                queue.Reset();
        }

        if (!_isResetting || _queues.Any(queue => queue.TakenCount != 0))
            return;
        _isResetting = false;
        _stop.Dispose();
        _stop = new CancellationTokenSource();
        foreach (VirtioQueue queue in _queues)
            queue.Reset();
        Status = VirtioStatus.None;
        DriverFeatures = 0;
        ConfigGeneration = 0;
        Fault = null;
        OnReset();
    }
}
