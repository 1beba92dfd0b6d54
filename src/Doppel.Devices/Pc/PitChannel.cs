using Doppel.Machine.State;

namespace Doppel.Devices.Pc;

/// <summary>
/// One counter of an 8254 (Intel 8254 data sheet, order number 231164). Nothing counts down: output and count are
/// computed from the tick at which the counting element was loaded. Ticks passed in never decrease. Not thread-safe.
/// </summary>
public sealed class PitChannel
{
    private byte _control;
    private bool _gate;
    private bool _programmed;
    private bool _hasCount;
    private bool _awaitsTrigger;
    private bool _writesHigh;
    private bool _readsHigh;
    private byte _low;
    private int _reload;
    private bool _armed;
    private long _start;
    private int _period = 1;
    private bool _levelBeforeStart;
    private bool _risesAtStart;
    private bool _hasNext;
    private long _nextAt;
    private long _nextStart;
    private int _nextPeriod = 1;
    private bool _paused;
    private long _pausedElapsed;
    private int _held;
    private bool _countLatched;
    private ushort _count;
    private bool _statusLatched;
    private byte _status;

    /// <summary>Creates a counter that was never programmed: its output is low.</summary>
    /// <param name="gate">Level of the gate input.</param>
    public PitChannel(bool gate) => _gate = gate;

    /// <summary>Mode, 0 to 5.</summary>
    public int Mode
    {
        get
        {
            int mode = (_control >> 1) & 7;
            return mode > 5 ? mode - 4 : mode;
        }
    }

    /// <summary>True when the output repeats by itself: modes 2 and 3.</summary>
    public bool IsPeriodic => Mode is 2 or 3;

    /// <summary>Ticks of one round: the count in force, 1 to 65536.</summary>
    public int Period => _period;

    /// <summary>Ticks of the round that follows: of the count written last, which may wait for the present round's end. 0 while nothing repeats.</summary>
    public int Round => !_armed || !IsPeriodic ? 0 : _hasNext ? _nextPeriod : _period;

    /// <summary>Level of the gate input.</summary>
    public bool Gate => _gate;

    private int Base => (_control & 1) != 0 ? 10000 : 65536;

    private int Access => (_control >> 4) & 3;

    /// <summary>Power-on state; the gate stays.</summary>
    public void Reset()
    {
        _control = _low = _status = 0;
        _count = 0;
        _programmed = _hasCount = _awaitsTrigger = _writesHigh = _readsHigh = _armed = _levelBeforeStart = _risesAtStart = false;
        _hasNext = _paused = _countLatched = _statusLatched = false;
        _reload = _held = 0;
        _period = _nextPeriod = 1;
        _start = _nextAt = _nextStart = _pausedElapsed = 0;
    }

    /// <summary>A control word for this counter whose access field is not 0 (that is <see cref="LatchCount"/>).</summary>
    /// <param name="value">Bits 5 to 0: access, mode, BCD.</param>
    public void WriteControl(byte value)
    {
        _control = (byte)(value & 0x3F);
        _programmed = true;
        _hasCount = _awaitsTrigger = _writesHigh = _readsHigh = _armed = false;
        _hasNext = _paused = _countLatched = _statusLatched = false;
        _held = 0;
    }

    /// <summary>A byte of the initial count.</summary>
    public void WriteCount(byte value, long now)
    {
        if (!_programmed)
            return;
        switch (Access)
        {
            case 1:
                SetCount(value, now);
                break;
            case 2:
                SetCount((ushort)(value << 8), now);
                break;
            default:
                if (_writesHigh)
                {
                    _writesHigh = false;
                    SetCount((ushort)(_low | (value << 8)), now);
                    break;
                }

                _low = value;
                _writesHigh = true;
                if (Mode == 0)
                {
                    // The first of two bytes stops the counter and drops the output.
                    _held = CountAt(now);
                    _armed = _paused = false;
                }

                break;
        }
    }

    /// <summary>A read of the counter's port: latched status, latched count or the count itself.</summary>
    public byte Read(long now)
    {
        if (_statusLatched)
        {
            _statusLatched = false;
            return _status;
        }

        int value = _countLatched ? _count : Encode(CountAt(now));
        switch (Access)
        {
            case 1:
                _countLatched = false;
                return (byte)value;
            case 2:
                _countLatched = false;
                return (byte)(value >> 8);
            default:
                if (!_readsHigh)
                {
                    _readsHigh = true;
                    return (byte)value;
                }

                _readsHigh = _countLatched = false;
                return (byte)(value >> 8);
        }
    }

    /// <summary>Latches the count until it is read; a second latch before that does nothing.</summary>
    public void LatchCount(long now)
    {
        if (_countLatched)
            return;
        _countLatched = true;
        _count = (ushort)Encode(CountAt(now));
    }

    /// <summary>Latches the status byte (output, null count, control word) until it is read.</summary>
    public void LatchStatus(long now)
    {
        if (_statusLatched)
            return;
        Advance(now);
        bool isNull = !_hasCount || _awaitsTrigger || _hasNext || (_armed && now < _start);
        _statusLatched = true;
        _status = (byte)(_control | (Output(now) ? 0x80 : 0) | (isNull ? 0x40 : 0));
    }

    /// <summary>Drives the gate: a level in modes 0, 2, 3 and 4, a trigger in modes 1, 2, 3 and 5.</summary>
    public void SetGate(bool level, long now)
    {
        if (level == _gate)
            return;
        Advance(now);
        int mode = Mode;
        if (!level)
        {
            if (mode is 0 or 4 && _armed)
            {
                _pausedElapsed = Math.Max(0, now - _start);
                _paused = true;
            }
            else if (mode is 2 or 3)
            {
                _held = CountAt(now);
                _armed = _hasNext = false;
                _awaitsTrigger = _hasCount;
            }

            _gate = false;
            return;
        }

        bool before = Output(now);
        _gate = true;
        if (mode is 0 or 4)
        {
            if (_paused)
                _start = now - _pausedElapsed;
            _paused = false;
        }
        else if (_hasCount)
        {
            Load(now, before);
        }
    }

    /// <summary>Level of the output.</summary>
    public bool Output(long now)
    {
        if (!_programmed)
            return false;
        Advance(now);
        int mode = Mode;
        if (!_armed)
            return mode != 0;
        long elapsed = _paused ? _pausedElapsed : now - _start;
        if (elapsed < 0)
            return _levelBeforeStart;
        return mode switch
        {
            0 or 1 => elapsed >= _period,
            2 => _period == 1 || elapsed % _period != _period - 1,
            3 => elapsed % _period < (_period + 1) / 2,
            _ => elapsed != _period,
        };
    }

    /// <summary>The first tick after <paramref name="now"/> at which the output rises by counting; null for none.</summary>
    public long? NextRise(long now)
    {
        Advance(now);
        if (!_armed || _paused)
            return null;
        switch (Mode)
        {
            case 0 or 1:
                return After(_start + _period, now);
            case 4 or 5:
                return After(_start + _period + 1, now);
        }

        if (_risesAtStart && now < _start)
            return _start;
        // A count of 1 is illegal in mode 2 and never leaves the high half in mode 3.
        if (_period == 1 && !_hasNext)
            return null;
        long rounds = Math.Max(0, now - _start) / _period;
        long rise = _start + ((rounds + 1) * _period);
        if (!_hasNext || rise < _nextAt)
            return rise;
        return _nextStart == _nextAt ? _nextAt : _nextStart + _nextPeriod;
    }

    /// <summary>Writes the counter's state.</summary>
    public void Save(StateWriter writer)
    {
        ReadOnlySpan<bool> flags =
        [
            _gate, _programmed, _hasCount, _awaitsTrigger, _writesHigh, _readsHigh, _armed, _levelBeforeStart, _hasNext,
            _paused, _countLatched, _statusLatched, _risesAtStart,
        ];
        foreach (bool flag in flags)
            writer.Write(flag);
        writer.Write(_control);
        writer.Write(_low);
        writer.Write(_status);
        writer.Write(_count);
        writer.Write(_reload);
        writer.Write(_period);
        writer.Write(_nextPeriod);
        writer.Write(_held);
        writer.Write(_start);
        writer.Write(_nextAt);
        writer.Write(_nextStart);
        writer.Write(_pausedElapsed);
    }

    /// <summary>Reads what <see cref="Save"/> wrote.</summary>
    /// <exception cref="InvalidDataException">A field is out of range; the counter may then be partly restored, its owner replaces it whole.</exception>
    public void Restore(StateReader reader, string section)
    {
        const long MaximumTick = long.MaxValue / 4;
        _gate = reader.ReadBool();
        _programmed = reader.ReadBool();
        _hasCount = reader.ReadBool();
        _awaitsTrigger = reader.ReadBool();
        _writesHigh = reader.ReadBool();
        _readsHigh = reader.ReadBool();
        _armed = reader.ReadBool();
        _levelBeforeStart = reader.ReadBool();
        _hasNext = reader.ReadBool();
        _paused = reader.ReadBool();
        _countLatched = reader.ReadBool();
        _statusLatched = reader.ReadBool();
        _risesAtStart = reader.ReadBool();
        _control = (byte)StateCheck.Range(section, "control word", reader.ReadByte(), 0, 0x3F);
        _low = reader.ReadByte();
        _status = reader.ReadByte();
        _count = reader.ReadUInt16();
        _reload = (int)StateCheck.Range(section, "count", reader.ReadInt32(), 0, 65536);
        _period = (int)StateCheck.Range(section, "period", reader.ReadInt32(), 1, 65536);
        _nextPeriod = (int)StateCheck.Range(section, "next period", reader.ReadInt32(), 1, 65536);
        _held = (int)StateCheck.Range(section, "held count", reader.ReadInt32(), 0, 65536);
        _start = StateCheck.Range(section, "start", reader.ReadInt64(), -MaximumTick, MaximumTick);
        _nextAt = StateCheck.Range(section, "next round", reader.ReadInt64(), -MaximumTick, MaximumTick);
        _nextStart = StateCheck.Range(section, "next start", reader.ReadInt64(), -MaximumTick, MaximumTick);
        _pausedElapsed = StateCheck.Range(section, "elapsed ticks", reader.ReadInt64(), 0, MaximumTick);
    }

    private static long? After(long tick, long now) => tick > now ? tick : null;

    private void SetCount(ushort value, long now)
    {
        bool before = Output(now);
        _reload = Decode(value);
        int mode = Mode;
        bool waits = mode is 1 or 5 || (mode is 2 or 3 && !_gate);
        if (waits)
        {
            _awaitsTrigger = true;
        }
        else if (mode is 2 or 3 && _armed && now >= _start)
        {
            ScheduleNext(now);
        }
        else
        {
            Load(now, mode == 0 ? false : before);
            if (!_gate)
            {
                _paused = true;
                _pausedElapsed = 0;
            }
        }

        _hasCount = true;
    }

    private void Load(long now, bool levelBeforeStart)
    {
        _held = CountAt(now);
        _levelBeforeStart = levelBeforeStart;
        _start = now + 1;
        _period = _reload;
        _armed = true;
        _paused = _hasNext = _awaitsTrigger = _risesAtStart = false;
    }

    /// <summary>A new count in modes 2 and 3 waits for the end of the round (mode 3: of the half).</summary>
    private void ScheduleNext(long now)
    {
        _nextPeriod = _reload;
        if (!_hasNext)
        {
            long position = (now - _start) % _period;
            int high = (_period + 1) / 2;
            bool inHigh = Mode == 3 && position < high;
            _nextAt = now - position + (inHigh ? high : _period);
            _nextStart = inHigh ? long.MinValue : _nextAt;
            _hasNext = true;
        }

        // When the change falls between the halves, the new round began half of the new period before it.
        if (_nextStart != _nextAt)
            _nextStart = _nextAt - ((_nextPeriod + 1) / 2);
    }

    private void Advance(long now)
    {
        if (!_hasNext || now < _nextAt)
            return;
        _hasNext = false;
        _risesAtStart = _nextStart == _nextAt;
        _start = _nextStart;
        _period = _nextPeriod;
    }

    private int CountAt(long now)
    {
        Advance(now);
        if (!_armed)
            return _held;
        long elapsed = _paused ? _pausedElapsed : now - _start;
        if (elapsed < 0)
            return _held;
        int mode = Mode;
        if (mode is 2 or 3)
        {
            int position = (int)(elapsed % _period);
            if (mode == 2)
                return _period - position;
            int high = (_period + 1) / 2;
            int odd = _period & 1;
            if (position == 0 || position == high)
                return _period;
            // An odd count is loaded less one after the first tick of a half, and falls by two.
            return position < high ? _period + odd - (2 * position) : _period - odd - (2 * (position - high));
        }

        long value = (_period - elapsed) % Base;
        return (int)(value < 0 ? value + Base : value);
    }

    private int Decode(ushort value)
    {
        if ((_control & 1) == 0)
            return value == 0 ? 65536 : value;
        int number = (((value >> 12) & 15) * 1000) + (((value >> 8) & 15) * 100) + (((value >> 4) & 15) * 10) + (value & 15);
        return number == 0 ? 10000 : number;
    }

    private int Encode(int count)
    {
        if ((_control & 1) == 0)
            return count & 0xFFFF;
        int number = count % 10000;
        return (number / 1000 << 12) | (number / 100 % 10 << 8) | (number / 10 % 10 << 4) | (number % 10);
    }
}
