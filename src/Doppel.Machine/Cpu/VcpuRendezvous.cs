namespace Doppel.Machine.Cpu;

/// <summary>
/// Brings the vCPUs of a machine to points between two guest instructions. It serves what a vCPU's own atomic
/// instructions can't do on the host: a locked access across two pages has the machine to itself, and code is decoded
/// only when every write that was allowed before its page was protected has happened.
/// </summary>
/// <remarks>
/// A vCPU takes part from <see cref="VirtualCpu.EnterGuest"/> to <see cref="VirtualCpu.LeaveGuest"/>; it is asked by
/// <see cref="PendingEvents.Flush"/>, and its engine then calls <see cref="SafePoint"/>. Nobody may wait here while
/// holding another lock of the machine: the vCPUs that are waited for may need it.
/// </remarks>
public sealed class VcpuRendezvous
{
    private readonly object _lock = new();
    private readonly List<VirtualCpu> _inside = [];
    private int _running;
    private volatile bool _exclusive;

    /// <summary>A point between two instructions: waits while another vCPU has the machine to itself. The vCPU's thread.</summary>
    public void SafePoint(VirtualCpu cpu)
    {
        lock (_lock)
        {
            cpu.SafePoints++;
            if (!_exclusive || !cpu.IsInGuest)
                return;
            StepAside();
            while (_exclusive)
                _ = Monitor.Wait(_lock);
            _running++;
        }
    }

    /// <summary>Stops every other vCPU between two instructions. The vCPU's thread; <see cref="EndExclusive"/> must follow.</summary>
    public void BeginExclusive(VirtualCpu cpu)
    {
        lock (_lock)
        {
            cpu.SafePoints++;
            // Two that ask at the same time must not wait for each other.
            if (cpu.IsInGuest)
                StepAside();
            while (_exclusive)
                _ = Monitor.Wait(_lock);
            _exclusive = true;
            foreach (VirtualCpu other in _inside)
            {
                if (other != cpu)
                    other.Signal(PendingEvents.Flush);
            }

            while (_running != 0)
                _ = Monitor.Wait(_lock);
        }
    }

    /// <summary>Lets the others go on.</summary>
    public void EndExclusive(VirtualCpu cpu)
    {
        lock (_lock)
        {
            _exclusive = false;
            if (cpu.IsInGuest)
                _running++;
            Monitor.PulseAll(_lock);
        }
    }

    internal void Enter(VirtualCpu cpu)
    {
        lock (_lock)
        {
            while (_exclusive)
                _ = Monitor.Wait(_lock);
            cpu.IsInGuest = true;
            _inside.Add(cpu);
            _running++;
        }
    }

    internal void Leave(VirtualCpu cpu)
    {
        lock (_lock)
        {
            cpu.SafePoints++;
            cpu.IsInGuest = false;
            _ = _inside.Remove(cpu);
            StepAside();
        }
    }

    /// <summary>Asks every other vCPU for a safe point; the asker is at one. Waits for nothing.</summary>
    /// <returns>What <see cref="HasPassed"/> looks at; null when no other vCPU is inside.</returns>
    public (VirtualCpu Cpu, long SafePoints)[]? AskAll(VirtualCpu asker)
    {
        lock (_lock)
        {
            asker.SafePoints++;
            if (_inside.Count == 0 || (_inside.Count == 1 && _inside[0] == asker))
                return null;
            List<(VirtualCpu, long)> asked = [];
            foreach (VirtualCpu other in _inside)
            {
                if (other == asker)
                    continue;
                asked.Add((other, other.SafePoints));
                other.Signal(PendingEvents.Flush);
            }

            return [.. asked];
        }
    }

    /// <summary>True when every vCPU that was asked has been at a safe point since. The asker is at one now.</summary>
    public bool HasPassed((VirtualCpu Cpu, long SafePoints)[] asked, VirtualCpu asker)
    {
        lock (_lock)
        {
            asker.SafePoints++;
            foreach ((VirtualCpu cpu, long safePoints) in asked)
            {
                if (cpu.SafePoints == safePoints)
                    return false;
            }

            return true;
        }
    }

    private void StepAside()
    {
        _running--;
        if (_running == 0)
            Monitor.PulseAll(_lock);
    }
}
