namespace Doppel.Devices.Storage.Qcow2;

/// <summary>
/// Keeps apart operations on the same clusters: those that change where clusters lie are alone, others share. A holder
/// takes one range at a time, so nobody waits in a circle.
/// </summary>
internal sealed class RangeLock
{
    private readonly object _lock = new();
    private readonly List<(ulong Start, ulong End, bool IsExclusive)> _held = [];
    private int _waiting;

    /// <summary>Waits until a range is free, and takes it.</summary>
    internal Holder Enter(ulong start, ulong end, bool isExclusive)
    {
        lock (_lock)
        {
            while (IsTaken(start, end, isExclusive))
            {
                _waiting++;
                _ = Monitor.Wait(_lock);
                _waiting--;
            }

            _held.Add((start, end, isExclusive));
        }

        return new Holder(this, start, end, isExclusive);
    }

    /// <summary>Takes a range if it is free.</summary>
    internal bool TryEnter(ulong start, ulong end, bool isExclusive, out Holder holder)
    {
        lock (_lock)
        {
            bool isFree = !IsTaken(start, end, isExclusive);
            if (isFree)
                _held.Add((start, end, isExclusive));
            holder = isFree ? new Holder(this, start, end, isExclusive) : default;
            return isFree;
        }
    }

    private bool IsTaken(ulong start, ulong end, bool isExclusive)
    {
        foreach ((ulong heldStart, ulong heldEnd, bool isHeldExclusively) in _held)
        {
            if (start < heldEnd && heldStart < end && (isExclusive || isHeldExclusively))
                return true;
        }

        return false;
    }

    private void Exit(ulong start, ulong end, bool isExclusive)
    {
        lock (_lock)
        {
            _ = _held.Remove((start, end, isExclusive));
            if (_waiting > 0)
                Monitor.PulseAll(_lock);
        }
    }

    /// <summary>Holds a range until it is disposed.</summary>
    internal readonly struct Holder(RangeLock owner, ulong start, ulong end, bool isExclusive) : IDisposable
    {
        public void Dispose() => owner.Exit(start, end, isExclusive);
    }
}
