namespace Doppel.Machine.Time;

/// <summary>A timer in a <see cref="VirtualTimerQueue"/>; its fields belong to the queue's lock.</summary>
internal sealed class VirtualTimer(VirtualTimerQueue queue, string name, Action callback) : IGuestTimer
{
    public long? Deadline => queue.DeadlineOf(this);

    internal string Name { get; } = name;

    internal long DueAt { get; set; }

    internal ulong Sequence { get; set; }

    internal int HeapIndex { get; set; } = -1;

    internal bool IsDisposed { get; set; }

    public void Arm(long deadline) => queue.Arm(this, deadline);

    public void Disarm() => queue.Disarm(this, dispose: false);

    public void Dispose() => queue.Disarm(this, dispose: true);

    /// <summary>Calls back; the I/O lock is held.</summary>
    internal void Fire() => callback();
}
