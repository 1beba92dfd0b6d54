namespace Doppel.Machine.Time;

/// <summary>
/// The armed timers of a clock, in the order of their deadlines; equal deadlines in the order in which they were armed,
/// so that a deterministic clock is one. Thread-safe: its lock is the innermost of the machine.
/// </summary>
public sealed class VirtualTimerQueue
{
    private readonly Lock _lock = new();
    private readonly Action _earlier;
    private readonly List<VirtualTimer> _heap = [];
    private ulong _sequence;

    /// <summary>Creates an empty queue.</summary>
    /// <param name="earlier">Called, without the queue's lock, after the first deadline has moved forward.</param>
    public VirtualTimerQueue(Action earlier) => _earlier = earlier;

    /// <summary>The first deadline in nanoseconds of guest time; null when nothing is armed.</summary>
    public long? NextDeadline
    {
        get
        {
            lock (_lock)
                return _heap.Count == 0 ? null : _heap[0].DueAt;
        }
    }

    /// <summary>Creates a disarmed timer.</summary>
    public IGuestTimer Create(string name, Action callback) => new VirtualTimer(this, name, callback);

    /// <summary>Takes the first timer out of the queue if it is due at the given time; null if none is.</summary>
    /// <param name="now">Guest time in nanoseconds.</param>
    /// <param name="armedBefore">Only a timer that was armed before <see cref="Mark"/> returned this.</param>
    internal VirtualTimer? TakeDue(long now, ulong armedBefore = ulong.MaxValue)
    {
        lock (_lock)
        {
            if (_heap.Count == 0 || _heap[0].DueAt > now || _heap[0].Sequence >= armedBefore)
                return null;
            VirtualTimer timer = _heap[0];
            RemoveAt(0);
            return timer;
        }
    }

    /// <summary>A point in the order in which timers are armed.</summary>
    internal ulong Mark()
    {
        lock (_lock)
            return _sequence;
    }

    internal void Arm(VirtualTimer timer, long deadline)
    {
        bool first;
        lock (_lock)
        {
            if (timer.IsDisposed)
                return;
            if (timer.HeapIndex >= 0)
                RemoveAt(timer.HeapIndex);
            first = _heap.Count == 0 || deadline < _heap[0].DueAt;
            timer.DueAt = deadline;
            timer.Sequence = _sequence++;
            _heap.Add(timer);
            timer.HeapIndex = _heap.Count - 1;
            Up(timer.HeapIndex);
        }

        if (first)
            _earlier();
    }

    internal void Disarm(VirtualTimer timer, bool dispose)
    {
        lock (_lock)
        {
            timer.IsDisposed |= dispose;
            if (timer.HeapIndex >= 0)
                RemoveAt(timer.HeapIndex);
        }
    }

    internal long? DeadlineOf(VirtualTimer timer)
    {
        lock (_lock)
            return timer.HeapIndex < 0 ? null : timer.DueAt;
    }

    private static bool IsBefore(VirtualTimer a, VirtualTimer b) =>
        a.DueAt != b.DueAt ? a.DueAt < b.DueAt : a.Sequence < b.Sequence;

    private void RemoveAt(int index)
    {
        _heap[index].HeapIndex = -1;
        VirtualTimer last = _heap[^1];
        _heap.RemoveAt(_heap.Count - 1);
        if (index == _heap.Count)
            return;
        Place(last, index);
        Up(index);
        Down(last.HeapIndex);
    }

    private void Up(int index)
    {
        VirtualTimer timer = _heap[index];
        while (index > 0 && IsBefore(timer, _heap[(index - 1) / 2]))
        {
            Place(_heap[(index - 1) / 2], index);
            index = (index - 1) / 2;
        }

        Place(timer, index);
    }

    private void Down(int index)
    {
        VirtualTimer timer = _heap[index];
        for (int child = (2 * index) + 1; child < _heap.Count; child = (2 * index) + 1)
        {
            if (child + 1 < _heap.Count && IsBefore(_heap[child + 1], _heap[child]))
                child++;
            if (!IsBefore(_heap[child], timer))
                break;
            Place(_heap[child], index);
            index = child;
        }

        Place(timer, index);
    }

    private void Place(VirtualTimer timer, int index)
    {
        _heap[index] = timer;
        timer.HeapIndex = index;
    }
}
