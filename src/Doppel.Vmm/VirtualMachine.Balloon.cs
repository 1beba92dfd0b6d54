using Doppel.Devices.Virtio;

namespace Doppel.Vmm;

/// <content>What is asked of the guest's balloon, and what it says.</content>
public sealed partial class VirtualMachine
{
    /// <summary>
    /// Says what the balloon has done. Waits until the guest has given what it was asked for and has sent new statistics, but
    /// no longer than given: a guest that is paused, busy or without a driver does neither.
    /// </summary>
    /// <returns>Null when the machine has no balloon (<see cref="MachineSpec.Balloon"/>).</returns>
    public async Task<BalloonReport?> GetBalloonAsync(TimeSpan patience)
    {
        VirtioBalloon? balloon;
        lock (_lock)
            balloon = _machine?.Balloon;
        if (balloon is null)
            return null;
        var told = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        var given = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        void OnStatistics(BalloonStatistics statistics) => told.TrySetResult();
        void OnActual()
        {
            if (balloon.Actual == balloon.Target)
                _ = given.TrySetResult();
        }

        balloon.StatisticsReceived += OnStatistics;
        balloon.ActualChanged += OnActual;
        try
        {
            long end = Environment.TickCount64 + (long)patience.TotalMilliseconds;
            OnActual();
            await Task.WhenAny(given.Task, Task.Delay(patience)).ConfigureAwait(false);
            // Statistics of after that.
            balloon.RequestStatistics();
            await Task.WhenAny(told.Task, Task.Delay((int)Math.Max(end - Environment.TickCount64, 0))).ConfigureAwait(false);
        }
        finally
        {
            balloon.StatisticsReceived -= OnStatistics;
            balloon.ActualChanged -= OnActual;
        }

        return new BalloonReport { Target = balloon.Target, Given = balloon.Actual, Freed = balloon.FreedBytes, Guest = balloon.Statistics };
    }
}
