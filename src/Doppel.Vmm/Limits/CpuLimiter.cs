using System.Diagnostics;
using Doppel.Host.Timers;

namespace Doppel.Vmm.Limits;

/// <summary>
/// Keeps a machine's process below a share of the host's processors: what it may use accrues with time, what it has used is
/// taken from that, and while it owes, its vCPUs stand still. What one period uses too much the next ones repay, so the share
/// holds however coarsely it is looked at. Any thread.
/// </summary>
internal sealed class CpuLimiter : IDisposable
{
    private static readonly long Burst = Ticks(20), Quantum = Ticks(5), ShortestLook = Ticks(5), LongestLook = Ticks(80);
    private readonly Lock _lock = new();
    private readonly DeadlineTimer _timer = new();
    private readonly Thread _thread;
    private readonly Func<TimeSpan> _used;
    private readonly Action<bool> _hold;
    private double? _cap;
    private double _balance;
    private long _last;
    private TimeSpan _lastUsed;
    private long _look;
    private long _heldSince;
    private long _held;
    private bool _isEnded;

    /// <summary>Makes it, without a limit.</summary>
    /// <param name="used">The processor time that the process has used.</param>
    /// <param name="hold">Stops the vCPUs (true) or lets them go on; is called without locks.</param>
    internal CpuLimiter(Func<TimeSpan> used, Action<bool> hold)
    {
        _used = used;
        _hold = hold;
        _thread = new Thread(Run) { IsBackground = true, Name = "doppel-share" };
        _thread.Start();
    }

    /// <summary>Processors that may be used, 0.01 or more; null for all.</summary>
    internal double? Cap
    {
        set
        {
            lock (_lock)
            {
                if (_cap == value)
                    return;
                if (_cap is null)
                {
                    (_last, _lastUsed, _balance) = (Stopwatch.GetTimestamp(), _used(), 0);
                    _look = ShortestLook;
                }

                _cap = value;
                _timer.Set(Stopwatch.GetTimestamp());
            }
        }
    }

    /// <summary>How long vCPUs have stood still for it.</summary>
    internal TimeSpan Throttled
    {
        get
        {
            lock (_lock)
                return Stopwatch.GetElapsedTime(0, _held + (_heldSince == 0 ? 0 : Stopwatch.GetTimestamp() - _heldSince));
        }
    }

    /// <summary>Ends it; the vCPUs go on.</summary>
    public void Dispose()
    {
        lock (_lock)
            _isEnded = true;
        _timer.Set(Stopwatch.GetTimestamp());
        _thread.Join();
        _timer.Dispose();
    }

    private static long Ticks(double milliseconds) => (long)(milliseconds / 1000 * Stopwatch.Frequency);

    private void Run()
    {
        bool isHeld = false;
        while (true)
        {
            _timer.Wait();
            bool mustHold;
            lock (_lock)
            {
                mustHold = !_isEnded && Step(isHeld);
                long now = Stopwatch.GetTimestamp();
                if (mustHold && !isHeld)
                    _heldSince = now;
                else if (!mustHold && isHeld)
                    (_held, _heldSince) = (_held + now - _heldSince, 0);
            }

            if (mustHold != isHeld)
                _hold(mustHold);
            isHeld = mustHold;
            if (Volatile.Read(ref _isEnded))
                return;
        }
    }

    // The lock is held. True when the vCPUs must stand still.
    private bool Step(bool isHeld)
    {
        if (_cap is not double cap)
        {
            _timer.Clear();
            return false;
        }

        long now = Stopwatch.GetTimestamp();
        TimeSpan used = _used();
        double spent = (used - _lastUsed).TotalSeconds * Stopwatch.Frequency, earned = cap * (now - _last);
        _balance = Math.Min(_balance + earned - spent, cap * Burst);
        // One that does nothing is not looked at often: what it begins to use meanwhile it owes.
        _look = spent < earned / 20 ? Math.Min(2 * _look, LongestLook) : ShortestLook;
        (_last, _lastUsed) = (now, used);
        bool holds = isHeld ? _balance < cap * Quantum : _balance <= 0;
        _timer.Set(now + (holds ? Math.Max((long)(((cap * Quantum) - _balance) / cap), ShortestLook / 5) : _look));
        return holds;
    }
}
