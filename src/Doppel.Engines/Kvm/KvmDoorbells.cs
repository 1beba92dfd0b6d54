using Doppel.Host;
using Doppel.Host.Events;
using Doppel.Host.Kvm;
using Doppel.Machine.Bus;

namespace Doppel.Engines.Kvm;

/// <summary>
/// Lets the kernel take the guest's writes to doorbells (ioeventfd): the vCPU goes on at once, and a thread of its own does the
/// write for it. Where doorbells are is followed while devices are moved on the bus.
/// </summary>
internal sealed class KvmDoorbells : IDisposable
{
    private readonly record struct Place(IDoorbellRegion Region, ulong Start, Doorbell Doorbell)
    {
        internal ulong Address => Start + Doorbell.Offset;
    }

    private readonly KvmVm _vm;
    private readonly IoBus _bus;
    private readonly Action<Exception> _failed;
    private readonly EventSignal _wake = new();
    private readonly Thread _thread;
    private Dictionary<Place, EventSignal> _bells = [];
    private bool _isDisposed;

    /// <summary>Takes over the doorbells of a bus, until disposal.</summary>
    /// <param name="vm">The VM.</param>
    /// <param name="bus">The bus.</param>
    /// <param name="failed">Told of a device's fault, on the thread that has met it; doorbells are served no more.</param>
    internal KvmDoorbells(KvmVm vm, IoBus bus, Action<Exception> failed)
    {
        _vm = vm;
        _bus = bus;
        _failed = failed;
        lock (bus.Lock)
        {
            Follow();
            bus.Changed += Follow;
        }

        _thread = new Thread(Serve) { IsBackground = true, Name = "doppel-doorbells" };
        _thread.Start();
    }

    /// <summary>Gives the doorbells back to the vCPUs; what has been rung is done. Not with the bus's lock held.</summary>
    public void Dispose()
    {
        lock (_bus.Lock)
        {
            if (_isDisposed)
                return;
            _isDisposed = true;
            _bus.Changed -= Follow;
            foreach (Place place in _bells.Keys.ToArray())
                Remove(place);
        }

        _wake.Set();
        _thread.Join();
        _wake.Dispose();
    }

    // With the bus's lock held.
    private void Follow()
    {
        HashSet<Place> wanted = [.. _bus.DoorbellRegions.SelectMany(mapping => mapping.Region.Doorbells.Select(bell => new Place(mapping.Region, mapping.Start, bell)))];
        if (wanted.SetEquals(_bells.Keys))
            return;
        foreach (Place place in _bells.Keys.Where(place => !wanted.Contains(place)).ToArray())
            Remove(place);
        foreach (Place place in wanted.Where(place => !_bells.ContainsKey(place)))
        {
            var signal = new EventSignal();
            try
            {
                _vm.SetIoEvent(place.Address, place.Doorbell.Size, place.Doorbell.Value, signal.Descriptor, isAssigned: true);
            }
            catch (HostException)
            {
                // There are no more to be had: the vCPUs ring this one themselves.
                signal.Dispose();
                continue;
            }

            // The thread waits on a copy.
            _bells = new Dictionary<Place, EventSignal>(_bells) { [place] = signal };
        }

        _wake.Set();
    }

    private void Remove(Place place)
    {
        EventSignal signal = _bells[place];
        _vm.SetIoEvent(place.Address, place.Doorbell.Size, place.Doorbell.Value, signal.Descriptor, isAssigned: false);
        if (signal.TryTake())
            Ring(place);
        _bells = _bells.Where(bell => bell.Key != place).ToDictionary();
        signal.Dispose();
    }

    private void Ring(Place place)
    {
        ulong value = place.Doorbell.Value ?? 0;
        place.Region.Write(place.Doorbell.Offset, place.Doorbell.Size, value);
        _bus.Trace?.Io(_bus, place.Region.Name, place.Address, place.Doorbell.Size, value, isWrite: true);
    }

    private void Serve()
    {
        try
        {
            ServeUntilDisposal();
        }
        catch (Exception e)
        {
            _failed(e);
        }
    }

    private void ServeUntilDisposal()
    {
        var list = new PollList();
        Dictionary<Place, EventSignal>? waiting = null;
        while (true)
        {
            lock (_bus.Lock)
            {
                if (_isDisposed)
                    return;
                if (waiting is not null)
                    RingAll();
                if (!ReferenceEquals(waiting, _bells))
                {
                    waiting = _bells;
                    list.Clear();
                    _ = list.Add(_wake.Descriptor, PollEvents.In);
                    foreach (EventSignal signal in waiting.Values)
                        _ = list.Add(signal.Descriptor, PollEvents.In);
                }
            }

            _ = list.Wait(-1);
            if ((list[0] & PollEvents.In) != 0)
                _wake.Clear();
        }
    }

    private void RingAll()
    {
        // What is rung may move doorbells.
        foreach ((Place place, EventSignal signal) in _bells)
        {
            if (_bells.ContainsKey(place) && signal.TryTake())
                Ring(place);
        }
    }
}
