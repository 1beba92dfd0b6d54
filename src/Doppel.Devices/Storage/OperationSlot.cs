namespace Doppel.Devices.Storage;

/// <summary>
/// The one operation of a back end that a device has under way whose registers know only one, such as a disk drive's. The
/// machine's I/O lock is held for every member, unless it says that it takes it.
/// </summary>
/// <param name="name">The device, for reports of its own faults.</param>
/// <param name="platform">What the device is given of its machine.</param>
/// <param name="full">Told that the host has no room: the machine should pause, and the operation begins anew when it goes on. Any thread. Null makes it an error.</param>
internal sealed class OperationSlot(string name, DevicePlatform platform, Action<StorageFullException>? full)
{
    private Work? _running;
    private Work? _waiting;
    private bool _isHeld;
    private bool _waitsForRoom;
    private bool _isPumping;
    private bool _isDisposed;
    private TaskCompletionSource? _idle;

    /// <summary>
    /// Begins an operation, or keeps it until the one before it has ended and the device is not held. The device knows by its own
    /// state what it has begun, so that it can begin it anew after a restore.
    /// </summary>
    /// <param name="operation">What to do; touches no state of the device but buffers.</param>
    /// <param name="done">Called with the I/O lock held, with true when it went well. It may begin the next.</param>
    internal void Begin(Func<ValueTask> operation, Action<bool> done)
    {
        _waiting = new Work(operation, done);
        Pump();
    }

    /// <summary>Forgets the operation: nobody is told of its end.</summary>
    /// <returns>True when it still works on its buffers, which the device must leave to it.</returns>
    internal bool Abandon()
    {
        _waiting = null;
        _waitsForRoom = false;
        if (_running is null)
            return false;
        _running.IsAbandoned = true;
        return true;
    }

    /// <summary>The device is held by a restore, until <see cref="Release"/>.</summary>
    internal void HoldForRestore()
    {
        if (_running is not null)
            throw new InvalidOperationException($"{name} can't be restored while its back end works for it");
        _waiting = null;
        _isHeld = true;
    }

    /// <summary>As <see cref="IBackgroundDevice.HoldAsync"/>. Takes the I/O lock.</summary>
    internal Task HoldAsync()
    {
        lock (platform.IoLock)
        {
            _isHeld = true;
            return Ended();
        }
    }

    /// <summary>Completes when the operation that is under way, also an abandoned one, has ended.</summary>
    internal Task Ended()
    {
        if (_running is null)
            return Task.CompletedTask;
        _idle ??= new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        return _idle.Task;
    }

    /// <summary>As <see cref="IBackgroundDevice.Release"/>. Takes the I/O lock.</summary>
    internal void Release()
    {
        lock (platform.IoLock)
        {
            _isHeld = false;
            _waitsForRoom = false;
            Pump();
        }
    }

    /// <summary>Waits for the end of what is under way and begins nothing more. Takes the I/O lock, so not with it held.</summary>
    internal void Dispose()
    {
        lock (platform.IoLock)
            _isDisposed = true;
        HoldAsync().GetAwaiter().GetResult();
    }

    private void Pump()
    {
        // An operation that ends at once would otherwise begin the next on top of itself.
        if (_isPumping)
            return;
        _isPumping = true;
        try
        {
            while (_waiting is Work work && _running is null && !_isHeld && !_waitsForRoom && !_isDisposed)
            {
                _waiting = null;
                _running = work;
                ValueTask<Outcome> outcome = TryAsync(work.Operation);
                if (outcome.IsCompleted || platform.IsDeterministic)
                    End(work, outcome.AsTask().GetAwaiter().GetResult());
                else
                    _ = FinishAsync(work, outcome);
            }
        }
        finally
        {
            _isPumping = false;
        }
    }

    private async Task FinishAsync(Work work, ValueTask<Outcome> operation)
    {
        Outcome outcome = await operation.ConfigureAwait(false);
        lock (platform.IoLock)
        {
            try
            {
                End(work, outcome);
                Pump();
            }
            catch (Exception e)
            {
                platform.Failed(new InvalidOperationException($"{name}: the end of a disk operation failed: {e.Message}", e));
            }
        }
    }

    private async ValueTask<Outcome> TryAsync(Func<ValueTask> operation)
    {
        try
        {
            await operation().ConfigureAwait(false);
            return new Outcome(true, null);
        }
        catch (StorageFullException e) when (full is not null)
        {
            return new Outcome(false, e);
        }
        catch (Exception e) when (e is IOException or OperationCanceledException)
        {
            // The guest learns of it by the status.
        }
        catch (Exception e)
        {
            platform.Failed(new InvalidOperationException($"{name}: a disk operation failed: {e.Message}", e));
        }

        return new Outcome(false, null);
    }

    private void End(Work work, Outcome outcome)
    {
        _running = null;
        if (!work.IsAbandoned && !_isDisposed)
        {
            if (outcome.Full is StorageFullException error)
            {
                _waiting = work;
                _waitsForRoom = true;
                // The pause takes locks that come before the I/O lock.
                _ = Task.Run(() => full!(error));
            }
            else
            {
                work.Done(outcome.Succeeded);
            }
        }

        _idle?.SetResult();
        _idle = null;
    }

    private readonly record struct Outcome(bool Succeeded, StorageFullException? Full);

    private sealed class Work(Func<ValueTask> operation, Action<bool> done)
    {
        internal Func<ValueTask> Operation => operation;

        internal Action<bool> Done => done;

        internal bool IsAbandoned { get; set; }
    }
}
