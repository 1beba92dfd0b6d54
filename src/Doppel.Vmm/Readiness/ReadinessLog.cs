using System.Net;

namespace Doppel.Vmm.Readiness;

/// <summary>Keeps how far a guest has come. Any thread.</summary>
/// <param name="expectsSetUp">True when the guest's command line lets cloud-init work at its first boot.</param>
internal sealed class ReadinessLog(bool expectsSetUp)
{
    private readonly Lock _lock = new();
    private GuestReadiness _now = new() { IsSettingUp = expectsSetUp };
    private TaskCompletionSource _changed = new(TaskCreationOptions.RunContinuationsAsynchronously);

    /// <summary>As it is now.</summary>
    internal GuestReadiness Now
    {
        get
        {
            lock (_lock)
                return _now;
        }

        // It was so where the machine was before.
        set => Change(now => value with { Sequence = now.Sequence });
    }

    /// <summary>True when a guest of this command line runs cloud-init: it has a seed, and cloud-init isn't switched off (<see cref="Seeds.NoCloudSeed.CommandLine"/>).</summary>
    internal static bool ExpectsSetUp(string commandLine)
    {
        string[] words = commandLine.Split(' ', StringSplitOptions.RemoveEmptyEntries);
        return words.Contains("doppel.seed") && !words.Contains("cloud-init=disabled");
    }

    /// <summary>The machine begins anew.</summary>
    internal void Begin() => Change(_ => new GuestReadiness { IsSettingUp = expectsSetUp });

    /// <summary>A prompt stands on the console.</summary>
    internal void Boot()
    {
        if (Now.Booted is null)
            Change(now => now with { Booted = DateTimeOffset.UtcNow, SetUp = now.IsSettingUp ? now.SetUp : now.SetUp ?? DateTimeOffset.UtcNow });
    }

    /// <summary>The guest has an address.</summary>
    internal void Address(IPAddress address)
    {
        if (Now.NetworkUp is null)
            Change(now => now with { NetworkUp = DateTimeOffset.UtcNow, Address = address.ToString() });
    }

    /// <summary>cloud-init is at work.</summary>
    internal void BeginSetUp()
    {
        if (Now is { IsSettingUp: false, SetUp: null })
            Change(now => now with { IsSettingUp = true });
    }

    /// <summary>cloud-init is done.</summary>
    internal void EndSetUp() => Change(now => now with { IsSettingUp = false, SetUp = now.SetUp ?? DateTimeOffset.UtcNow });

    /// <summary>Waits until it is another than one that is known.</summary>
    /// <param name="known">That one's <see cref="GuestReadiness.Sequence"/>.</param>
    /// <param name="cancel">Ends the wait.</param>
    internal async Task<GuestReadiness> WaitAsync(long known, CancellationToken cancel)
    {
        while (true)
        {
            Task changed;
            lock (_lock)
            {
                if (_now.Sequence != known)
                    return _now;
                changed = _changed.Task;
            }

            await changed.WaitAsync(cancel).ConfigureAwait(false);
        }
    }

    private void Change(Func<GuestReadiness, GuestReadiness> change)
    {
        TaskCompletionSource changed;
        lock (_lock)
        {
            _now = change(_now) with { Sequence = _now.Sequence + 1 };
            changed = _changed;
            _changed = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        }

        changed.SetResult();
    }
}
