using Doppel.Devices.Network;
using Doppel.Vmm.Execution;
using Doppel.Vmm.Readiness;

namespace Doppel.Vmm;

/// <content>How far the guest has come.</content>
public sealed partial class VirtualMachine
{
    private readonly ReadinessLog _readiness;
    private IReadOnlyList<GuestAddressWatch> _addressWatches = [];

    /// <summary>How far the guest has come, as far as can be seen from outside. Any thread.</summary>
    public GuestReadiness Readiness => _readiness.Now;

    /// <summary>Waits until that is another than one that is known.</summary>
    /// <param name="known">The <see cref="GuestReadiness.Sequence"/> of that one.</param>
    /// <param name="cancel">Ends the wait.</param>
    public Task<GuestReadiness> WaitForReadinessAsync(long known, CancellationToken cancel) => _readiness.WaitAsync(known, cancel);

    // No card is attached yet.
    private void WatchNetworks()
    {
        var watches = new List<GuestAddressWatch>();
        foreach (MachineNetwork network in _networks)
        {
            if (network.Backend is not PolledNetwork polled)
                continue;
            polled.AddressWatch = new GuestAddressWatch(_readiness.Address);
            watches.Add(polled.AddressWatch);
        }

        _addressWatches = watches;
    }

    private void BeginReadiness()
    {
        _readiness.Begin();
        foreach (GuestAddressWatch watch in _addressWatches)
            watch.Begin();
    }

    // The guest has come so far somewhere else.
    private void TakeReadiness(GuestReadiness? readiness)
    {
        BeginReadiness();
        if (readiness is null)
            return;
        _readiness.Now = readiness;
        if (readiness.NetworkUp is null)
            return;
        foreach (GuestAddressWatch watch in _addressWatches)
            watch.Pause();
    }
}
