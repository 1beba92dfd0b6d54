using Doppel.Machine.State;
using Doppel.Machine.Time;

namespace Doppel.Machine.Interrupts;

/// <summary>
/// The timer of a local APIC (Intel SDM vol. 3, 11.5.4): it counts nanoseconds of guest time, divided. Everything but
/// the clock's call back is called with the local APIC's lock held.
/// </summary>
internal sealed class LocalApicTimer : IDisposable
{
    /// <summary>
    /// A periodic timer interrupts at most this often (nanoseconds); periods that fall between are merged, as they would
    /// be in IRR. Without a floor a guest could keep the clock's thread busy.
    /// </summary>
    internal const long MinimumInterval = 20_000;

    private readonly IGuestClock _clock;
    private readonly IInterruptTarget _target;
    private readonly IGuestTimer _timer;
    private TimerMode _mode;
    private uint _initial;
    private byte _divide;
    private long _start;
    private bool _isRunning;
    private ulong _tscDeadline;

    internal LocalApicTimer(IGuestClock clock, IInterruptTarget target, string name, Action callback)
    {
        _clock = clock;
        _target = target;
        _timer = clock.CreateTimer(name, callback);
    }

    /// <summary>Timer modes, bits 18 and 17 of the LVT entry.</summary>
    internal enum TimerMode
    {
        OneShot,
        Periodic,
        TscDeadline,
        Reserved,
    }

    internal uint InitialCount => _initial;

    internal byte DivideConfiguration => _divide;

    internal ulong TscDeadline => _mode == TimerMode.TscDeadline ? _tscDeadline : 0;

    private long Divisor => 1L << (((_divide & 3) | ((_divide >> 1) & 4)) + 1 & 7);

    private long Period => _initial * Divisor;

    private ulong GuestTsc => _clock.Tsc + _target.TscOffset;

    internal uint CurrentCount
    {
        get
        {
            if (!_isRunning)
                return 0;
            long elapsed = (_clock.Now - _start) / Divisor;
            if (_mode == TimerMode.Periodic)
                return _initial - (uint)(elapsed % _initial);
            return elapsed >= _initial ? 0 : _initial - (uint)elapsed;
        }
    }

    public void Dispose() => _timer.Dispose();

    internal void Reset()
    {
        _mode = TimerMode.OneShot;
        _initial = 0;
        _divide = 0;
        _tscDeadline = 0;
        Stop();
    }

    /// <summary>Notices a change of the LVT entry's mode. To or from TSC deadline disarms; between the others the count goes on.</summary>
    internal void SetMode(TimerMode mode)
    {
        if (mode == _mode)
            return;
        bool toOrFromDeadline = (mode == TimerMode.TscDeadline) != (_mode == TimerMode.TscDeadline);
        if (toOrFromDeadline || mode == TimerMode.Reserved)
        {
            _initial = 0;
            _tscDeadline = 0;
            Stop();
        }
        else if (_isRunning)
        {
            StartFrom(CurrentCount);
        }

        _mode = mode;
        Schedule();
    }

    internal void SetInitialCount(uint value)
    {
        if (_mode is TimerMode.TscDeadline or TimerMode.Reserved)
            return;
        _initial = value;
        _isRunning = value != 0;
        _start = _clock.Now;
        Schedule();
    }

    internal void SetDivide(uint value)
    {
        uint count = CurrentCount;
        _divide = (byte)(value & 0xB);
        if (_isRunning)
            StartFrom(count);
        Schedule();
    }

    /// <summary>Takes a new deadline; true when it has passed already, so that the interrupt is due.</summary>
    internal bool SetTscDeadline(ulong value)
    {
        if (_mode != TimerMode.TscDeadline)
            return false;
        _tscDeadline = value;
        return TakeExpiry();
    }

    /// <summary>Whether an interrupt is due now; arms the clock for the next one in any case.</summary>
    internal bool TakeExpiry()
    {
        bool due = false;
        if (_mode == TimerMode.TscDeadline)
        {
            due = _tscDeadline != 0 && GuestTsc >= _tscDeadline;
            if (due)
                _tscDeadline = 0;
        }
        else if (_isRunning && _clock.Now - _start >= Period)
        {
            due = true;
            if (_mode == TimerMode.Periodic)
                _start += (_clock.Now - _start) / Period * Period;
            else
                _isRunning = false;
        }

        Schedule();
        return due;
    }

    internal void Save(StateWriter writer)
    {
        writer.Write(_initial);
        writer.Write(_divide);
        writer.Write(_isRunning);
        writer.Write(_start);
        writer.Write(_tscDeadline);
    }

    /// <summary>Reads and checks a state; the returned action makes it effective.</summary>
    internal Action Prepare(StateReader reader, TimerMode mode, string owner)
    {
        uint initial = reader.ReadUInt32();
        byte divide = reader.ReadByte();
        bool isRunning = reader.ReadBool();
        long start = reader.ReadInt64();
        ulong deadline = reader.ReadUInt64();
        if ((divide & ~0xB) != 0)
            throw new InvalidDataException($"{owner}: timer divide is 0x{divide:x}; only bits 0, 1 and 3 exist");
        if (isRunning && (initial == 0 || mode is TimerMode.TscDeadline or TimerMode.Reserved))
            throw new InvalidDataException($"{owner}: the timer counts, but its initial count is {initial} and its mode {mode}");
        if (start < 0)
            throw new InvalidDataException($"{owner}: timer start is {start}; it must not be negative");
        return () =>
        {
            _mode = mode;
            _initial = initial;
            _divide = divide;
            _isRunning = isRunning;
            _start = start;
            _tscDeadline = deadline;
            Schedule();
        };
    }

    /// <summary>Gives the counts to a keeper.</summary>
    internal void Give(KeptApic kept)
    {
        kept[ApicRegister.DivideConfiguration] = _divide;
        // A keeper that is KVM takes a count that has run down for one that is due, so one that is over is given as none.
        kept[ApicRegister.InitialCount] = _isRunning ? _initial : 0;
        kept[ApicRegister.CurrentCount] = CurrentCount;
    }

    /// <summary>Takes them as a keeper has them, without arming the clock.</summary>
    /// <param name="kept">The registers.</param>
    /// <param name="mode">The mode in its LVT entry.</param>
    /// <param name="hasFired">True when the timer's vector is requested or in service: a count that has run down isn't due.</param>
    internal void Take(KeptApic kept, TimerMode mode, bool hasFired)
    {
        _mode = mode;
        _initial = kept[ApicRegister.InitialCount];
        _divide = (byte)(kept[ApicRegister.DivideConfiguration] & 0xB);
        _tscDeadline = mode == TimerMode.TscDeadline ? kept.TscDeadline : 0;
        uint count = Math.Min(kept[ApicRegister.CurrentCount], _initial);
        _isRunning = _initial != 0 && mode is TimerMode.OneShot or TimerMode.Periodic;
        // What the keeper counts as over may not have become an interrupt yet: better one too many than none.
        if (mode == TimerMode.OneShot && count == 0 && hasFired)
            _isRunning = false;
        if (!_isRunning)
            return;
        StartFrom(count);
        // The keeper's count goes on while the machine's clock stands still.
        _start = Math.Max(_start, 0);
    }

    /// <summary>Counts no longer: a keeper does. The counts stay.</summary>
    internal void Suspend() => _timer.Disarm();

    internal void Schedule()
    {
        if (_mode == TimerMode.TscDeadline)
            ScheduleDeadline();
        else if (!_isRunning)
            _timer.Disarm();
        else if (_mode == TimerMode.OneShot)
            _timer.Arm(_start + Period);
        else
            _timer.Arm(NextPeriod());
    }

    private long NextPeriod()
    {
        long next = _start + Period;
        long floor = _clock.Now + MinimumInterval;
        if (Period < MinimumInterval && next < floor)
            next += (floor - next + Period - 1) / Period * Period;
        return next;
    }

    private void ScheduleDeadline()
    {
        if (_tscDeadline == 0)
        {
            _timer.Disarm();
            return;
        }

        ulong now = GuestTsc;
        ulong ticks = _tscDeadline > now ? _tscDeadline - now : 0;
        UInt128 wait = (((UInt128)ticks * 1_000_000_000) + _clock.TscFrequency - 1) / _clock.TscFrequency;
        long start = _clock.Now;
        _timer.Arm(wait > (ulong)(long.MaxValue - start) ? long.MaxValue : start + (long)wait);
    }

    // Makes the current count equal to a value now, at the rate that holds from here on.
    private void StartFrom(uint count) => _start = _clock.Now - ((_initial - count) * Divisor);

    private void Stop()
    {
        _isRunning = false;
        _timer.Disarm();
    }
}
