using Doppel.Machine.Bus;
using Doppel.Machine.Interrupts;
using Doppel.Machine.State;
using Doppel.Machine.Time;

namespace Doppel.Devices.Pc;

/// <summary>
/// The MC146818 real-time clock with its 128 bytes of CMOS memory at ports 70h and 71h (Motorola MC146818 data sheet).
/// It shows the clock's wall time in UTC plus an offset, which changes when the guest sets the time. Alarm,
/// update-ended and periodic interrupts are on interrupt 8; the century in BCD is at 32h (FADT.CENTURY).
/// <para>
/// Periodic ticks that come while register C has not been read are owed, up to <see cref="MaximumOwed"/>, and are
/// given a quarter of a period apart after it was read.
/// </para>
/// </summary>
public sealed class Mc146818 : IDevice, IDisposable
{
    /// <summary>Most periodic ticks owed to a guest that could not keep up.</summary>
    public const int MaximumOwed = 64;

    /// <summary>Index of the century byte.</summary>
    public const int CenturyIndex = 0x32;

    private const int RegisterA = 10, RegisterB = 11, RegisterC = 12, RegisterD = 13;
    private const byte Set = 0x80, PeriodicFlag = 0x40, AlarmFlag = 0x20, UpdateFlag = 0x10, AnyFlag = 0x80;

    // The update cycle of 1984 microseconds follows 244 microseconds after UIP rises (data sheet, table 5).
    private const long UpdateWindow = (244 + 1984) * TimeSpan.TicksPerMicrosecond;
    private const long DayOfSeconds = 86_400;

    private static readonly TickRate Oscillator = new(32_768);
    private readonly IGuestClock _clock;
    private readonly IInterruptLine _line;
    private readonly IGuestTimer _timer;
    private readonly IoRange[] _ports;
    private byte[] _memory = new byte[128];
    private byte _index;
    private bool _nmiMasked;
    private byte _flags;
    private bool _level;
    private bool _running;
    private long _offset;
    private int _weekdayShift;
    private long _seenSecond;
    private long _seenPeriod;
    private int _owed;
    private long _owedAt;

    /// <summary>Creates the clock, running and on time; the memory is zero.</summary>
    /// <param name="clock">The machine's time.</param>
    /// <param name="line">Interrupt 8.</param>
    /// <param name="utcOffset">What the RTC shows less UTC, for guests that keep local time in it.</param>
    public Mc146818(IGuestClock clock, IInterruptLine line, TimeSpan utcOffset = default)
    {
        ArgumentNullException.ThrowIfNull(clock);
        ArgumentNullException.ThrowIfNull(line);
        _clock = clock;
        _line = line;
        _offset = utcOffset.Ticks;
        _timer = clock.CreateTimer("rtc", OnTimer);
        _memory[RegisterA] = 0x26;
        _memory[RegisterB] = 0x02;
        _running = true;
        _seenSecond = Second(TimeTicks());
        _seenPeriod = PeriodIndex();
        _ports = [new IoRange(PcPorts.Rtc, 2, new BytePorts("rtc", 2, ReadPort, WritePort))];
    }

    /// <inheritdoc/>
    public string SectionName => "rtc";

    /// <inheritdoc/>
    public int SectionVersion => 1;

    /// <inheritdoc/>
    public IReadOnlyList<IoRange> Ports => _ports;

    /// <summary>True while bit 7 of port 70h masks the non-maskable interrupt.</summary>
    public bool NmiMasked => _nmiMasked;

    /// <summary>The time that the registers show, to the second.</summary>
    public DateTime Time
    {
        get
        {
            Refresh();
            return Calendar.TryDecode(_memory[CenturyIndex], _memory[9], _memory[8], _memory[7], _memory[4], _memory[2], _memory[0], out DateTime time)
                ? time
                : DateTime.MinValue;
        }
    }

    private RtcCalendar Calendar => new((_memory[RegisterB] & 4) != 0, (_memory[RegisterB] & 2) != 0);

    private bool Frozen => !_running || (_memory[RegisterB] & Set) != 0 || DividerHeld;

    private bool DividerHeld => (_memory[RegisterA] & 0x60) == 0x60;

    /// <summary>A byte of CMOS memory, as the machine's firmware would store it; indices 14 to 127 but the century.</summary>
    public byte this[int index]
    {
        get => _memory[CheckIndex(index)];
        set => _memory[CheckIndex(index)] = value;
    }

    /// <summary>
    /// Stores the memory sizes where a PC's firmware does: base memory (15h), extended memory in KiB (17h, 30h),
    /// memory above 16 MiB (34h) and above 4 GiB (5Bh) in 64 KiB.
    /// </summary>
    /// <param name="belowFourGiB">Bytes of RAM below 4 GiB, from address 0.</param>
    /// <param name="aboveFourGiB">Bytes of RAM from 4 GiB.</param>
    public void SetMemorySize(ulong belowFourGiB, ulong aboveFourGiB)
    {
        const ulong MiB = 1 << 20;
        Store(0x15, Math.Min(640, belowFourGiB / 1024), 2);
        ulong extended = belowFourGiB > MiB ? Math.Min(65535, (belowFourGiB - MiB) / 1024) : 0;
        Store(0x17, extended, 2);
        Store(0x30, extended, 2);
        Store(0x34, belowFourGiB > 16 * MiB ? Math.Min(65535, (belowFourGiB - (16 * MiB)) / 65536) : 0, 2);
        Store(0x5B, Math.Min(0xFFFFFF, aboveFourGiB / 65536), 3);
        // Equipment: a coprocessor, no floppy disk, display adapter with a BIOS of its own.
        _memory[0x14] = 0x02;
        SetChecksum();
    }

    /// <summary>Stores which floppy drives there are, where an AT's BIOS looks: their kinds (10h) and their number (equipment, 14h).</summary>
    /// <param name="first">Kind of the first: 0 for none, 1 (360K), 2 (1.2M), 3 (720K), 4 (1.44M), 5 (2.88M).</param>
    /// <param name="second">Kind of the second.</param>
    public void SetFloppyDrives(byte first, byte second)
    {
        const byte HasFloppies = 1, Two = 0x40;
        _memory[0x10] = (byte)((first << 4) | (second & 15));
        _memory[0x14] = (byte)((_memory[0x14] & ~(HasFloppies | 0xC0)) | (first == 0 ? 0 : second == 0 ? HasFloppies : HasFloppies | Two));
        SetChecksum();
    }

    /// <summary>The reset input: interrupt enables and flags clear; time, memory and the periodic rate stay.</summary>
    public void Reset()
    {
        Refresh();
        _memory[RegisterB] &= 0x87;
        _flags = 0;
        _owed = 0;
        _index = 0;
        _nmiMasked = false;
        Update();
    }

    /// <inheritdoc/>
    public void Save(StateWriter writer)
    {
        Refresh();
        writer.Write(_memory.AsSpan());
        writer.Write(_index);
        writer.Write(_nmiMasked);
        writer.Write(_flags);
        writer.Write(_level);
        writer.Write(_running);
        writer.Write(_offset);
        writer.Write(_weekdayShift);
        writer.Write(_seenSecond);
        writer.Write(_seenPeriod);
        writer.Write(_owed);
        writer.Write(_owedAt);
    }

    /// <inheritdoc/>
    public void Restore(StateReader reader, int version)
    {
        StateCheck.Version(SectionName, version, SectionVersion);
        byte[] memory = StateCheck.Length(SectionName, "memory", reader.ReadBytes(128), 128);
        byte index = (byte)StateCheck.Range(SectionName, "index", reader.ReadByte(), 0, 127);
        bool nmiMasked = reader.ReadBool();
        byte flags = (byte)(reader.ReadByte() & 0x70);
        bool level = reader.ReadBool();
        bool running = reader.ReadBool();
        long offset = StateCheck.Range(SectionName, "offset", reader.ReadInt64(), -DateTime.MaxValue.Ticks, DateTime.MaxValue.Ticks);
        int shift = (int)StateCheck.Range(SectionName, "weekday shift", reader.ReadInt32(), 0, 6);
        long seenSecond = StateCheck.Range(SectionName, "last second", reader.ReadInt64(), 0, DateTime.MaxValue.Ticks / TimeSpan.TicksPerSecond);
        long seenPeriod = StateCheck.Range(SectionName, "last period", reader.ReadInt64(), 0, long.MaxValue / 4);
        int owed = (int)StateCheck.Range(SectionName, "ticks owed", reader.ReadInt32(), 0, MaximumOwed);
        long owedAt = StateCheck.Range(SectionName, "time of the next tick owed", reader.ReadInt64(), 0, long.MaxValue);
        (_memory, _index, _nmiMasked, _flags, _level) = (memory, index, nmiMasked, flags, level);
        (_running, _offset, _weekdayShift) = (running, offset, shift);
        (_seenSecond, _seenPeriod, _owed, _owedAt) = (seenSecond, seenPeriod, owed, owedAt);
        _line.Set(level);
        Schedule();
    }

    /// <inheritdoc/>
    public void Dispose() => _timer.Dispose();

    private static long Second(long ticks) => ticks / TimeSpan.TicksPerSecond;

    private static int CheckIndex(int index)
    {
        if (index is < 14 or > 127 or CenturyIndex)
            throw new ArgumentOutOfRangeException(nameof(index), index, "a CMOS index is 14 to 127, and 50 belongs to the clock");
        return index;
    }

    private static bool IsTime(int index) => index is 0 or 2 or 4 or 6 or 7 or 8 or 9 or CenturyIndex;

    // An AT's BIOS takes the memory for lost when the sum of these bytes is wrong.
    private void SetChecksum()
    {
        int sum = 0;
        for (int i = 0x10; i <= 0x2D; i++)
            sum += _memory[i];
        _memory[0x2E] = (byte)(sum >> 8);
        _memory[0x2F] = (byte)sum;
    }

    private void Store(int index, ulong value, int bytes)
    {
        for (int i = 0; i < bytes; i++)
            _memory[index + i] = (byte)(value >> (8 * i));
    }

    private byte ReadPort(int port)
    {
        // The index register cannot be read back on a PC.
        if (port == 0)
            return 0xFF;
        Refresh();
        switch (_index)
        {
            case RegisterA:
                bool updating = !Frozen && TimeSpan.TicksPerSecond - (TimeTicks() % TimeSpan.TicksPerSecond) <= UpdateWindow;
                return (byte)(_memory[RegisterA] | (updating ? 0x80 : 0));
            case RegisterC:
                byte value = (byte)(_flags | (IsRequesting ? AnyFlag : 0));
                _flags = 0;
                if (_owed > 0)
                    _owedAt = _clock.Now + (PeriodTime() / 4);
                Update();
                return value;
            case RegisterD:
                return 0x80;
            default:
                return _memory[_index];
        }
    }

    private void WritePort(int port, byte value)
    {
        if (port == 0)
        {
            _index = (byte)(value & 0x7F);
            _nmiMasked = (value & 0x80) != 0;
            return;
        }

        Refresh();
        switch (_index)
        {
            case RegisterA:
                WriteA(value);
                break;
            case RegisterB:
                WriteB(value);
                break;
            case RegisterC or RegisterD:
                return;
            case 6 when !Frozen:
                int day = Calendar.Decode(value);
                if (day is >= 1 and <= 7)
                    _weekdayShift = (day - 1 - (int)new DateTime(TimeTicks()).DayOfWeek + 7) % 7;
                break;
            default:
                _memory[_index] = value;
                if (IsTime(_index) && (_memory[RegisterB] & Set) == 0 && !DividerHeld)
                    StartFromRegisters(TimeTicks() % TimeSpan.TicksPerSecond);
                break;
        }

        Update();
    }

    private void WriteA(byte value)
    {
        bool held = DividerHeld;
        _memory[RegisterA] = (byte)(value & 0x7F);
        _seenPeriod = PeriodIndex();
        _owed = 0;
        // The first update follows half a second after the divider is released (data sheet, "Divider control").
        if (held && !DividerHeld && (_memory[RegisterB] & Set) == 0)
            StartFromRegisters(TimeSpan.TicksPerSecond / 2);
    }

    private void WriteB(byte value)
    {
        bool wasSet = (_memory[RegisterB] & Set) != 0;
        if ((value & Set) != 0)
            value &= unchecked((byte)~UpdateFlag);
        if ((value & PeriodicFlag) == 0)
            _owed = 0;
        RtcCalendar before = Calendar;
        _memory[RegisterB] = value;
        if (wasSet && (value & Set) == 0 && !DividerHeld)
            StartFromRegisters(TimeTicks() % TimeSpan.TicksPerSecond);
        else if (before != Calendar && !Frozen)
            ShowTime(TimeTicks());
    }

    /// <summary>Lets the clock run on from what the registers hold; nonsense stands still until it is corrected.</summary>
    private void StartFromRegisters(long fraction)
    {
        RtcCalendar calendar = Calendar;
        _running = calendar.TryDecode(_memory[CenturyIndex], _memory[9], _memory[8], _memory[7], _memory[4], _memory[2], _memory[0], out DateTime time);
        if (!_running)
            return;
        _offset = time.Ticks + fraction - _clock.WallClock.UtcTicks;
        _seenSecond = Second(time.Ticks);
        int day = calendar.Decode(_memory[6]);
        _weekdayShift = day is >= 1 and <= 7 ? (day - 1 - (int)time.DayOfWeek + 7) % 7 : 0;
    }

    /// <summary>The RTC's time in units of 100 ns, kept within what a calendar can show.</summary>
    private long TimeTicks() => Math.Clamp(_clock.WallClock.UtcTicks + _offset, 0, DateTime.MaxValue.Ticks);

    private void ShowTime(long ticks)
    {
        var time = new DateTime(ticks, DateTimeKind.Utc);
        RtcCalendar calendar = Calendar;
        _memory[0] = calendar.Encode(time.Second);
        _memory[2] = calendar.Encode(time.Minute);
        _memory[4] = calendar.EncodeHour(time.Hour);
        _memory[6] = calendar.Encode((((int)time.DayOfWeek + _weekdayShift) % 7) + 1);
        _memory[7] = calendar.Encode(time.Day);
        _memory[8] = calendar.Encode(time.Month);
        _memory[9] = calendar.Encode(time.Year % 100);
        _memory[CenturyIndex] = new RtcCalendar(false, true).Encode(time.Year / 100);
    }

    /// <summary>Brings time registers and flags up to now.</summary>
    private void Refresh()
    {
        if (!Frozen)
        {
            long ticks = TimeTicks();
            long second = Second(ticks);
            if (second != _seenSecond)
            {
                _flags |= UpdateFlag;
                if (second > _seenSecond && AlarmWithin(_seenSecond + 1, second))
                    _flags |= AlarmFlag;
                _seenSecond = second;
            }

            ShowTime(ticks);
        }

        long period = PeriodIndex();
        if (period > _seenPeriod)
        {
            long ticks = period - _seenPeriod - ((_flags & PeriodicFlag) == 0 ? 1 : 0);
            if ((_memory[RegisterB] & PeriodicFlag) != 0)
                _owed = (int)Math.Min(MaximumOwed, _owed + ticks);
            _flags |= PeriodicFlag;
        }

        _seenPeriod = period;
    }

    private bool AlarmWithin(long first, long last)
    {
        RtcCalendar calendar = Calendar;
        first = Math.Max(first, last - DayOfSeconds + 1);
        int alarmSecond = _memory[1] >= 0xC0 ? -2 : calendar.Decode(_memory[1]);
        int alarmMinute = _memory[3] >= 0xC0 ? -2 : calendar.Decode(_memory[3]);
        int alarmHour = _memory[5] >= 0xC0 ? -2 : calendar.DecodeHour(_memory[5]);
        for (long second = first; second <= last; second++)
        {
            int ofDay = (int)(second % DayOfSeconds);
            if (Matches(alarmSecond, ofDay % 60) && Matches(alarmMinute, ofDay / 60 % 60) && Matches(alarmHour, ofDay / 3600))
                return true;
        }

        return false;

        static bool Matches(int alarm, int value) => alarm == -2 || alarm == value;
    }

    /// <summary>Length of the periodic interrupt's period in oscillator ticks; 0 when it is off.</summary>
    private int PeriodLength()
    {
        int rate = _memory[RegisterA] & 15;
        if (rate == 0 || DividerHeld)
            return 0;
        return 1 << ((rate < 3 ? rate + 7 : rate) - 1);
    }

    private long PeriodIndex()
    {
        int length = PeriodLength();
        return length == 0 ? 0 : Oscillator.TicksAt(_clock.Now) / length;
    }

    private long PeriodTime() => Oscillator.TimeOf(PeriodLength());

    private bool IsRequesting => (_flags & _memory[RegisterB] & 0x70) != 0;

    private void Update()
    {
        _level = IsRequesting;
        _line.Set(_level);
        Schedule();
    }

    private void OnTimer()
    {
        Refresh();
        if (_owed > 0 && (_flags & PeriodicFlag) == 0 && _clock.Now >= _owedAt)
        {
            _owed--;
            _flags |= PeriodicFlag;
        }

        Update();
    }

    private void Schedule()
    {
        long deadline = long.MaxValue;
        byte enabled = _memory[RegisterB];
        if ((enabled & (UpdateFlag | AlarmFlag)) != 0 && !Frozen)
        {
            long rest = TimeSpan.TicksPerSecond - (TimeTicks() % TimeSpan.TicksPerSecond);
            deadline = _clock.Now + (rest * TimeSpan.NanosecondsPerTick);
        }

        int length = PeriodLength();
        if ((enabled & PeriodicFlag) != 0 && length != 0)
        {
            deadline = Math.Min(deadline, Oscillator.TimeOf((_seenPeriod + 1) * length));
            if (_owed > 0 && (_flags & PeriodicFlag) == 0)
                deadline = Math.Min(deadline, Math.Max(_owedAt, _clock.Now + 1));
        }

        if (deadline == long.MaxValue)
            _timer.Disarm();
        else
            _timer.Arm(deadline);
    }
}
