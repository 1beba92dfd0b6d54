namespace Doppel.Host.Events;

/// <summary>Wakes a thread that waits for descriptors (eventfd(2)).</summary>
public sealed unsafe class EventSignal : IDisposable
{
    private int _isSet;

    /// <summary>Creates one that is not set.</summary>
    /// <exception cref="HostException">The host refuses.</exception>
    public EventSignal() =>
        Descriptor = (int)HostError.Check(EventCalls.EventFd(0, EventFlags.NonBlocking | EventFlags.CloseOnExec), "eventfd", "for waking a thread");

    /// <summary>The descriptor, readable while the signal is set.</summary>
    public int Descriptor { get; }

    /// <summary>Sets it. Any thread; costs next to nothing while it is set.</summary>
    public void Set()
    {
        if (Interlocked.Exchange(ref _isSet, 1) != 0)
            return;
        ulong one = 1;
        _ = LibC.Write(Descriptor, &one, sizeof(ulong));
    }

    /// <summary>Clears it. Whoever then looks at what it stands for sees everything that was done before a <see cref="Set"/> that had no effect.</summary>
    public void Clear()
    {
        ulong count;
        _ = LibC.Read(Descriptor, &count, sizeof(ulong));
        _ = Interlocked.Exchange(ref _isSet, 0);
    }

    /// <summary>Clears it when it is set, by this process or by the kernel.</summary>
    /// <returns>True when it was.</returns>
    public bool TryTake()
    {
        ulong count;
        bool wasSet = LibC.Read(Descriptor, &count, sizeof(ulong)) == sizeof(ulong);
        if (wasSet)
            _ = Interlocked.Exchange(ref _isSet, 0);
        return wasSet;
    }

    /// <summary>Closes it. No thread may use it any more.</summary>
    public void Dispose() => _ = LibC.Close(Descriptor);
}
