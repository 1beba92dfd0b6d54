using System.Threading.Tasks.Sources;

namespace Doppel.Devices.Storage.Images;

/// <summary>An operation that waits for a thread, and the task of whoever asked for it.</summary>
internal sealed class IoOperation(Action action, Action? ended, CancellationToken cancel) : IValueTaskSource
{
    private ManualResetValueTaskSourceCore<bool> _core;

    internal ValueTask Task => new(this, _core.Version);

    public void GetResult(short token) => _ = _core.GetResult(token);

    public ValueTaskSourceStatus GetStatus(short token) => _core.GetStatus(token);

    public void OnCompleted(Action<object?> continuation, object? state, short token, ValueTaskSourceOnCompletedFlags flags) =>
        _core.OnCompleted(continuation, state, token, flags);

    internal void Run()
    {
        try
        {
            cancel.ThrowIfCancellationRequested();
            action();
        }
        catch (Exception e)
        {
            ended?.Invoke();
            _core.SetException(e);
            return;
        }

        ended?.Invoke();
        _core.SetResult(true);
    }
}
