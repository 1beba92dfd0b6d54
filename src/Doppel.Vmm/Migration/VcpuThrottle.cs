namespace Doppel.Vmm.Migration;

/// <summary>Takes a part of their time from a machine's vCPUs: they stand still for so much of each period. One thread sets it.</summary>
/// <param name="machine">The machine.</param>
internal sealed class VcpuThrottle(VirtualMachine machine) : IAsyncDisposable
{
    private static readonly TimeSpan Period = TimeSpan.FromMilliseconds(50);
    private readonly CancellationTokenSource _end = new();
    private Task? _task;
    private volatile int _percent;

    /// <summary>Percent of the time that is taken, 0 to 99.</summary>
    internal int Percent
    {
        get => _percent;
        set
        {
            _percent = value;
            if (value != 0)
                _task ??= RunAsync();
        }
    }

    /// <inheritdoc/>
    public async ValueTask DisposeAsync()
    {
        await _end.CancelAsync().ConfigureAwait(false);
        if (_task is not null)
            await _task.ConfigureAwait(false);
        _end.Dispose();
    }

    private async Task RunAsync()
    {
        try
        {
            while (true)
            {
                machine.Throttle(true);
                await Task.Delay(Period * (_percent / 100.0), _end.Token).ConfigureAwait(false);
                machine.Throttle(false);
                await Task.Delay(Period * ((100 - _percent) / 100.0), _end.Token).ConfigureAwait(false);
            }
        }
        catch (OperationCanceledException)
        {
            machine.Throttle(false);
        }
    }
}
