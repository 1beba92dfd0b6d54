using Doppel.Machine.Bus;
using Doppel.Machine.Interrupts;
using Doppel.Machine.State;
using Doppel.Machine.Time;

namespace Doppel.Devices.Pc;

/// <summary>
/// The 8254 interval timer of a PC: counter 0 drives interrupt 0, counter 1 once refreshed memory, counter 2 is the
/// speaker's. Counts are read from the clock.
/// <para>
/// Ticks that the host is too late for are owed: the guest gets them a quarter of a period apart until the debt is
/// paid. The debt is at most one second of ticks. Interrupts closer than <see cref="MinimumInterval"/> are merged.
/// </para>
/// </summary>
public sealed class Pit8254 : IDevice, IDisposable
{
    /// <summary>Ticks in a second: a twelfth of 14.31818 MHz, rounded as every PC's timekeeping does.</summary>
    public const int Frequency = 1_193_182;

    /// <summary>Shortest time between two periodic interrupts, in nanoseconds.</summary>
    public const long MinimumInterval = 20_000;

    private static readonly TickRate Rate = new(Frequency);
    private readonly IGuestClock _clock;
    private readonly IInterruptLine _line;
    private readonly IGuestTimer _timer;
    private readonly IoRange[] _ports;
    private PitChannel[] _channels = NewChannels();
    private bool _level;
    private long _handled;
    private int _owed;

    /// <summary>Creates the timer in its power-on state: no counter runs.</summary>
    /// <param name="clock">The machine's time.</param>
    /// <param name="line">Interrupt 0.</param>
    public Pit8254(IGuestClock clock, IInterruptLine line)
    {
        ArgumentNullException.ThrowIfNull(clock);
        ArgumentNullException.ThrowIfNull(line);
        _clock = clock;
        _line = line;
        _timer = clock.CreateTimer("pit", OnTimer);
        _ports = [new IoRange(PcPorts.Pit, 4, new BytePorts("pit", 4, Read, Write))];
    }

    /// <summary>The guest has written to counter 2.</summary>
    public event Action? Counter2Changed;

    /// <inheritdoc/>
    public string SectionName => "pit";

    /// <inheritdoc/>
    public int SectionVersion => 1;

    /// <inheritdoc/>
    public IReadOnlyList<IoRange> Ports => _ports;

    /// <summary>Gate of counter 2, driven by port 61h. The gates of the others are high.</summary>
    public bool Gate2
    {
        get => _channels[2].Gate;
        set => _channels[2].SetGate(value, Now);
    }

    /// <summary>Output of counter 2, to the speaker and port 61h.</summary>
    public bool Output2 => _channels[2].Output(Now);

    /// <summary>Ticks of each round of counter 2 while it counts in a mode that repeats, with the count that was written last; 0 otherwise.</summary>
    public int Round2 => _channels[2].Round;

    private long Now => Rate.TicksAt(_clock.Now);

    /// <inheritdoc/>
    public void Reset()
    {
        foreach (PitChannel channel in _channels)
            channel.Reset();
        _channels[2].SetGate(false, Now);
        _owed = 0;
        _timer.Disarm();
        SetLevel(false);
    }

    /// <inheritdoc/>
    public void Save(StateWriter writer)
    {
        foreach (PitChannel channel in _channels)
            channel.Save(writer);
        writer.Write(_level);
        writer.Write(_handled);
        writer.Write(_owed);
    }

    /// <inheritdoc/>
    public void Restore(StateReader reader, int version)
    {
        StateCheck.Version(SectionName, version, SectionVersion);
        PitChannel[] channels = NewChannels();
        foreach (PitChannel channel in channels)
            channel.Restore(reader, SectionName);
        bool level = reader.ReadBool();
        long handled = StateCheck.Range(SectionName, "last tick handled", reader.ReadInt64(), 0, long.MaxValue / 4);
        int owed = (int)StateCheck.Range(SectionName, "ticks owed", reader.ReadInt32(), 0, Frequency);
        _channels = channels;
        _level = level;
        _handled = handled;
        _owed = owed;
        _line.Set(level);
        Schedule(_clock.Now);
    }

    /// <inheritdoc/>
    public void Dispose() => _timer.Dispose();

    private static PitChannel[] NewChannels() => [new(gate: true), new(gate: true), new(gate: false)];

    private byte Read(int port) => port == 3 ? (byte)0xFF : _channels[port].Read(Now);

    private void Write(int port, byte value)
    {
        long now = Now;
        if (port == 3)
            WriteControl(value, now);
        else
            _channels[port].WriteCount(value, now);
        if (port == 0 || (port == 3 && value < 0x40 && (value & 0x30) != 0))
            Counter0Changed(now);
        else if (port == 2 || (port == 3 && value >> 6 == 2 && (value & 0x30) != 0))
            Counter2Changed?.Invoke();
    }

    private void WriteControl(byte value, long now)
    {
        int select = value >> 6;
        if (select == 3)
        {
            for (int i = 0; i < 3; i++)
            {
                if ((value >> (i + 1) & 1) == 0)
                    continue;
                if ((value & 0x20) == 0)
                    _channels[i].LatchCount(now);
                if ((value & 0x10) == 0)
                    _channels[i].LatchStatus(now);
            }
        }
        else if ((value & 0x30) == 0)
        {
            _channels[select].LatchCount(now);
        }
        else
        {
            _channels[select].WriteControl(value);
        }
    }

    private void Counter0Changed(long now)
    {
        _owed = 0;
        _handled = now;
        // The low tick of mode 2 is too short for a level: its rise is made when the timer fires.
        SetLevel(_channels[0].Mode == 0 ? _channels[0].Output(now) : true);
        Schedule(_clock.Now);
    }

    private void OnTimer()
    {
        PitChannel channel = _channels[0];
        long time = _clock.Now;
        long now = Rate.TicksAt(time);
        long cap = Math.Max(1, Frequency / channel.Period);
        long rises = 0;
        while (rises <= cap && channel.NextRise(_handled) is long rise && rise <= now)
        {
            rises++;
            _handled = rise;
        }

        _handled = now;
        if (rises == 0 && _owed == 0)
        {
            Schedule(time);
            return;
        }

        bool keepsAccount = channel.IsPeriodic && Rate.TimeOf(channel.Period) > MinimumInterval;
        _owed = keepsAccount ? (int)Math.Clamp(_owed + rises - 1, 0, cap) : 0;
        SetLevel(false);
        SetLevel(true);
        Schedule(time);
    }

    private void Schedule(long time)
    {
        PitChannel channel = _channels[0];
        if (channel.NextRise(_handled) is not long rise)
        {
            _timer.Disarm();
            return;
        }

        long deadline = Rate.TimeOf(rise);
        if (channel.IsPeriodic)
        {
            long period = Rate.TimeOf(channel.Period);
            if (_owed > 0)
                deadline = Math.Min(deadline, time + Math.Max(MinimumInterval, period / 4));
            if (period < MinimumInterval)
                deadline = Math.Max(deadline, time + MinimumInterval);
        }

        _timer.Arm(deadline);
    }

    private void SetLevel(bool level)
    {
        _level = level;
        _line.Set(level);
    }
}
