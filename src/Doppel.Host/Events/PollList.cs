using System.Runtime.InteropServices;

namespace Doppel.Host.Events;

/// <summary>Descriptors that one thread waits for (poll(2)). Not safe for several threads.</summary>
public sealed unsafe class PollList
{
    private PollDescriptor[] _descriptors = new PollDescriptor[16];

    /// <summary>Number of descriptors.</summary>
    public int Count { get; private set; }

    /// <summary>What was seen of a descriptor by the last <see cref="Wait"/>.</summary>
    /// <param name="index">What <see cref="Add"/> returned.</param>
    public PollEvents this[int index] => (uint)index < (uint)Count ? (PollEvents)_descriptors[index].Seen : PollEvents.None;

    /// <summary>Removes all.</summary>
    public void Clear() => Count = 0;

    /// <summary>Adds a descriptor.</summary>
    /// <returns>Its index.</returns>
    public int Add(int descriptor, PollEvents wanted)
    {
        if (Count == _descriptors.Length)
            Array.Resize(ref _descriptors, 2 * Count);
        _descriptors[Count] = new PollDescriptor { Descriptor = descriptor, Wanted = (short)wanted };
        return Count++;
    }

    /// <summary>Waits until something is seen of a descriptor, or a time has passed.</summary>
    /// <param name="timeout">Milliseconds; -1 for no limit.</param>
    /// <returns>False when nothing was seen.</returns>
    /// <exception cref="HostException">The host refuses.</exception>
    public bool Wait(int timeout)
    {
        int result;
        fixed (PollDescriptor* descriptors = _descriptors)
            result = EventCalls.Poll(descriptors, (ulong)Count, timeout);
        if (result >= 0)
            return result > 0;
        if (Marshal.GetLastPInvokeError() != EventFlags.Interrupted)
            HostError.Throw("poll", $"of {Count} descriptors");
        // A signal: nothing was seen, and what the kernel has left there is not of this call.
        for (int i = 0; i < Count; i++)
            _descriptors[i].Seen = 0;
        return false;
    }
}
