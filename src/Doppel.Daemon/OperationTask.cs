using System.Threading.Channels;
using Doppel.Api;
using Doppel.Vmm.Control;

namespace Doppel.Daemon;

/// <summary>One operation: what it says of itself, who follows it, and whether it is cancelled. Any thread.</summary>
internal sealed class OperationTask : IDisposable
{
    private readonly Lock _lock = new();
    private readonly CancellationTokenSource _cancel = new();
    private readonly TaskCompletionSource _ended = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly List<Channel<Operation>> _followers = [];
    private Operation _now;

    internal OperationTask(Operation operation) => _now = operation;

    /// <summary>What it is now.</summary>
    internal Operation Now
    {
        get
        {
            lock (_lock)
                return _now;
        }
    }

    /// <summary>Cancelled when somebody asks for that.</summary>
    internal CancellationToken Cancel => _cancel.Token;

    /// <summary>Completes when it has ended.</summary>
    internal Task Ended => _ended.Task;

    /// <summary>Asks it to end; one that has ended stays as it is.</summary>
    internal void RequestCancel()
    {
        try
        {
            _cancel.Cancel();
        }
        catch (ObjectDisposedException)
        {
            // It has ended, and was forgotten meanwhile.
        }
    }

    /// <summary>Frees what it holds, when it has ended.</summary>
    public void Dispose() => _cancel.Dispose();

    /// <summary>Says how far it is.</summary>
    internal void Report(OperationProgress progress) => Change(now => now with { Progress = progress });

    /// <summary>Begins to follow it: the channel has what it is now, then each change, and is complete at its end. One who doesn't read misses what was replaced.</summary>
    internal Channel<Operation> Follow()
    {
        var channel = Channel.CreateBounded<Operation>(new BoundedChannelOptions(2) { FullMode = BoundedChannelFullMode.DropOldest });
        lock (_lock)
        {
            _ = channel.Writer.TryWrite(_now);
            if (_now.State == OperationState.Running)
                _followers.Add(channel);
            else
                channel.Writer.Complete();
        }

        return channel;
    }

    /// <summary>Ends following.</summary>
    internal void Leave(Channel<Operation> channel)
    {
        lock (_lock)
            _ = _followers.Remove(channel);
    }

    /// <summary>Ends it.</summary>
    internal void End(Func<Operation, Operation> change)
    {
        Change(now => change(now) with { Ended = DateTimeOffset.UtcNow });
        lock (_lock)
        {
            foreach (Channel<Operation> follower in _followers)
                follower.Writer.Complete();
            _followers.Clear();
        }

        _ended.SetResult();
    }

    private void Change(Func<Operation, Operation> change)
    {
        lock (_lock)
        {
            if (_now.State != OperationState.Running)
                return;
            _now = change(_now);
            foreach (Channel<Operation> follower in _followers)
                _ = follower.Writer.TryWrite(_now);
        }
    }
}
