using Doppel.Devices.Pc;
using Doppel.Machine.Bus;
using Doppel.Machine.Interrupts;
using Doppel.Machine.State;
using Doppel.Machine.Time;

namespace Doppel.Devices.Chipset;

/// <summary>
/// The high precision event timer (IA-PC HPET specification 1.0a): a counter of 64 bits at 100 MHz and three comparators, each
/// of them periodic or not, on an input of the IOAPIC or in place of the interval timer and the real-time clock.
/// </summary>
public sealed class Hpet : IDevice, IIoRegion, IDisposable
{
    /// <summary>Number of comparators.</summary>
    public const int TimerCount = 3;

    /// <summary>Ticks of the counter in a second.</summary>
    public const long Frequency = 100_000_000;

    /// <summary>Bytes of registers.</summary>
    public const int Length = 0x400;

    /// <summary>IOAPIC inputs that a comparator may drive, one bit each.</summary>
    public const uint Routes = 0x00F0_0000;

    private const ulong Enabled = 1, Legacy = 2;
    private const ulong Level = 1 << 1, InterruptEnabled = 1 << 2, Periodic = 1 << 3, PeriodicCapable = 1 << 4, SizeCapable = 1 << 5, ValueSet = 1 << 6, Mode32 = 1 << 8;
    private const ulong Writable = Level | InterruptEnabled | Periodic | ValueSet | Mode32 | (31 << 9);
    private const ulong FemtosecondsPerTick = 1_000_000_000_000_000 / Frequency;
    private const ulong Capabilities = (FemtosecondsPerTick << 32) | (0x8086UL << 16) | (1 << 15) | (1 << 13) | ((TimerCount - 1) << 8) | 1;
    private static readonly TickRate Rate = new(Frequency);
    private readonly IGuestClock _clock;
    private readonly Func<int, IInterruptLine> _lines;
    private readonly IGuestTimer _timer;
    private readonly IoRange[] _ranges;
    private readonly Comparator[] _comparators = [new(), new(), new()];
    private readonly List<LegacyLine> _legacyLines = [];
    private ulong _configuration;
    private ulong _status;
    // The counter's value while it stands, or what is to be added to the clock's ticks while it runs.
    private ulong _counter;

    /// <summary>Creates the timer, halted at zero.</summary>
    /// <param name="clock">The machine's time.</param>
    /// <param name="lines">The wire of a global system interrupt; of the ISA interrupts 0 and 8 that behind <see cref="Replace"/>.</param>
    public Hpet(IGuestClock clock, Func<int, IInterruptLine> lines)
    {
        ArgumentNullException.ThrowIfNull(clock);
        ArgumentNullException.ThrowIfNull(lines);
        _clock = clock;
        _lines = lines;
        _timer = clock.CreateTimer("hpet", OnTimer);
        _ranges = [new IoRange(PcMemoryMap.Hpet, Length, this)];
    }

    /// <inheritdoc/>
    public string Name => "hpet";

    /// <inheritdoc/>
    public string SectionName => "hpet";

    /// <inheritdoc/>
    public int SectionVersion => 1;

    /// <inheritdoc/>
    public IReadOnlyList<IoRange> Memory => _ranges;

    private bool IsRunning => (_configuration & Enabled) != 0;

    private ulong Now => IsRunning ? _counter + (ulong)Rate.TicksAt(_clock.Now) : _counter;

    /// <summary>A wire for the device whose interrupt the first comparator (0, the interval timer's) or the second (8, the clock's) replaces when the guest says so: it leads nowhere then.</summary>
    /// <param name="output">Where it leads otherwise.</param>
    public IInterruptLine Replace(IInterruptLine output)
    {
        var line = new LegacyLine(output);
        _legacyLines.Add(line);
        return line;
    }

    /// <inheritdoc/>
    public ulong Read(ulong offset, int size)
    {
        int at = (int)offset & 7;
        ulong value = ReadRegister((int)offset & ~7) >> (8 * at);
        return size == 8 ? value : value & ((1UL << (8 * size)) - 1);
    }

    /// <inheritdoc/>
    public void Write(ulong offset, int size, ulong value)
    {
        // Registers take aligned accesses of four and eight bytes (2.3.3).
        int shift = 8 * ((int)offset & 7);
        if (size < 4 || ((int)offset & (size - 1)) != 0)
            return;
        ulong mask = (size == 8 ? ulong.MaxValue : uint.MaxValue) << shift;
        Refresh();
        WriteRegister((int)offset & ~7, value << shift, mask);
        Schedule();
    }

    /// <inheritdoc/>
    public void Reset()
    {
        for (int i = 0; i < TimerCount; i++)
        {
            Drive(i, false);
            _comparators[i] = new Comparator();
        }

        _configuration = _status = _counter = 0;
        UpdateLegacy();
        Schedule();
    }

    /// <inheritdoc/>
    public void Save(StateWriter writer)
    {
        Refresh();
        Schedule();
        writer.Write(_configuration);
        writer.Write(_status);
        writer.Write(_counter);
        foreach (Comparator comparator in _comparators)
        {
            writer.Write(comparator.Configuration);
            writer.Write(comparator.Value);
            writer.Write(comparator.Period);
            writer.Write(comparator.Checked);
        }
    }

    /// <inheritdoc/>
    public void Restore(StateReader reader, int version)
    {
        StateCheck.Version(SectionName, version, SectionVersion);
        ulong configuration = reader.ReadUInt64() & (Enabled | Legacy);
        ulong status = reader.ReadUInt64() & ((1 << TimerCount) - 1);
        ulong counter = reader.ReadUInt64();
        var comparators = new Comparator[TimerCount];
        for (int i = 0; i < TimerCount; i++)
        {
            comparators[i] = new Comparator
            {
                Configuration = reader.ReadUInt64() & Writable,
                Value = reader.ReadUInt64(),
                Period = reader.ReadUInt64(),
                Checked = reader.ReadUInt64(),
            };
        }

        (_configuration, _status, _counter) = (configuration, status, counter);
        comparators.CopyTo(_comparators, 0);
        UpdateLegacy();
        for (int i = 0; i < TimerCount; i++)
        {
            if ((_status & (1UL << i)) != 0)
                Drive(i, true);
        }

        Schedule();
    }

    /// <inheritdoc/>
    public void Dispose() => _timer.Dispose();

    private ulong ReadRegister(int offset)
    {
        switch (offset)
        {
            case 0x000:
                return Capabilities;
            case 0x010:
                return _configuration;
            case 0x020:
                Refresh();
                return _status;
            case 0x0F0:
                return Now;
        }

        int timer = (offset - 0x100) >> 5;
        if (timer is < 0 or >= TimerCount)
            return 0;
        Refresh();
        return (offset & 0x1F) switch
        {
            0x00 => _comparators[timer].Configuration | PeriodicCapable | SizeCapable | ((ulong)Routes << 32),
            0x08 => _comparators[timer].Value & _comparators[timer].Mask,
            _ => 0,
        };
    }

    private void WriteRegister(int offset, ulong value, ulong mask)
    {
        switch (offset)
        {
            case 0x010:
                Configure((_configuration & ~mask) | (value & mask & (Enabled | Legacy)));
                return;
            case 0x020:
                ClearStatus(value & mask);
                return;
            case 0x0F0:
                // Defined while the counter stands; while it runs, hardware takes it too.
                ulong wanted = (Now & ~mask) | (value & mask);
                _counter = IsRunning ? wanted - (ulong)Rate.TicksAt(_clock.Now) : wanted;
                foreach (Comparator comparator in _comparators)
                    comparator.Checked = wanted;
                return;
        }

        int timer = (offset - 0x100) >> 5;
        if (timer is < 0 or >= TimerCount)
            return;
        if ((offset & 0x1F) == 0)
            ConfigureTimer(timer, value, mask);
        else if ((offset & 0x1F) == 8)
            SetComparator(_comparators[timer], value, mask);
    }

    private void Configure(ulong configuration)
    {
        ulong now = Now;
        bool wasRunning = IsRunning;
        for (int i = 0; i < TimerCount; i++)
        {
            if ((_status & (1UL << i)) != 0)
                Drive(i, false);
        }

        _configuration = configuration;
        if (IsRunning != wasRunning)
            _counter = IsRunning ? now - (ulong)Rate.TicksAt(_clock.Now) : now;
        UpdateLegacy();
        for (int i = 0; i < TimerCount; i++)
        {
            if ((_status & (1UL << i)) != 0)
                Drive(i, true);
        }
    }

    private void ClearStatus(ulong bits)
    {
        for (int i = 0; i < TimerCount; i++)
        {
            ulong bit = 1UL << i;
            if ((bits & _status & bit) == 0)
                continue;
            _status &= ~bit;
            Drive(i, false);
        }
    }

    private void ConfigureTimer(int timer, ulong value, ulong mask)
    {
        Comparator comparator = _comparators[timer];
        if ((_status & (1UL << timer)) != 0)
        {
            _status &= ~(1UL << timer);
            Drive(timer, false);
        }

        comparator.Configuration = ((comparator.Configuration & ~mask) | (value & mask)) & Writable;
        if ((comparator.Configuration & Mode32) != 0)
        {
            comparator.Value = (uint)comparator.Value;
            comparator.Period = (uint)comparator.Period;
        }

        comparator.Checked = Now;
    }

    // A periodic comparator takes its first match only behind ValueSet, and its period always (2.3.9.2.2).
    private void SetComparator(Comparator comparator, ulong value, ulong mask)
    {
        bool isPeriodic = (comparator.Configuration & Periodic) != 0;
        if (isPeriodic)
            comparator.Period = ((comparator.Period & ~mask) | (value & mask)) & comparator.Mask;
        if (!isPeriodic || (comparator.Configuration & ValueSet) != 0)
        {
            comparator.Value = ((comparator.Value & ~mask) | (value & mask)) & comparator.Mask;
            comparator.Configuration &= ~ValueSet;
        }

        comparator.Checked = Now;
    }

    // What has matched since it was last looked at.
    private void Refresh()
    {
        if (!IsRunning)
            return;
        ulong now = Now;
        for (int i = 0; i < TimerCount; i++)
        {
            Comparator comparator = _comparators[i];
            ulong passed = now - comparator.Checked, wait = comparator.Wait;
            comparator.Checked = now;
            if (wait == 0 || passed < wait)
                continue;
            if ((comparator.Configuration & Periodic) != 0 && comparator.Period != 0)
                comparator.Value = (comparator.Value + (comparator.Period * (((passed - wait) / comparator.Period) + 1))) & comparator.Mask;
            Fire(i);
        }
    }

    private void Fire(int timer)
    {
        ulong configuration = _comparators[timer].Configuration;
        if ((configuration & Level) != 0)
        {
            _status |= 1UL << timer;
            Drive(timer, true);
        }
        else
        {
            Drive(timer, true);
            Drive(timer, false);
        }
    }

    private void Drive(int timer, bool level)
    {
        ulong configuration = _comparators[timer].Configuration;
        if (level && (configuration & InterruptEnabled) == 0)
            return;
        if ((_configuration & Legacy) != 0 && timer < 2)
        {
            if (timer < _legacyLines.Count)
                _legacyLines[timer].Output.Set(level);
            return;
        }

        int route = (int)(configuration >> 9) & 31;
        if ((Routes & (1u << route)) != 0)
            _lines(route).Set(level);
    }

    private void UpdateLegacy()
    {
        foreach (LegacyLine line in _legacyLines)
            line.IsReplaced = (_configuration & Legacy) != 0;
    }

    private void OnTimer()
    {
        Refresh();
        Schedule();
    }

    private void Schedule()
    {
        ulong soonest = ulong.MaxValue;
        if (IsRunning)
        {
            foreach (Comparator comparator in _comparators)
            {
                if ((comparator.Configuration & InterruptEnabled) == 0)
                    continue;
                ulong wait = comparator.Wait;
                ulong passed = Now - comparator.Checked;
                soonest = Math.Min(soonest, wait == 0 ? comparator.Mask : wait - Math.Min(wait, passed));
            }
        }

        // A deadline beyond a century need not be met.
        const ulong Forever = (ulong)Frequency * 3_000_000_000;
        if (soonest > Forever)
            _timer.Disarm();
        else
            _timer.Arm(Rate.TimeOf(Rate.TicksAt(_clock.Now) + (long)Math.Max(soonest, 1)));
    }

    private sealed class Comparator
    {
        internal ulong Configuration { get; set; }

        internal ulong Value { get; set; } = ulong.MaxValue;

        internal ulong Period { get; set; }

        /// <summary>The counter when it was last compared.</summary>
        internal ulong Checked { get; set; }

        internal ulong Mask => (Configuration & Mode32) != 0 ? uint.MaxValue : ulong.MaxValue;

        /// <summary>Ticks from then to the next match; 0 for a whole round.</summary>
        internal ulong Wait => (Value - Checked) & Mask;
    }

    private sealed class LegacyLine(IInterruptLine output) : IInterruptLine
    {
        private bool _level;
        private bool _isReplaced;

        internal IInterruptLine Output => output;

        internal bool IsReplaced
        {
            set
            {
                if (_isReplaced == value)
                    return;
                _isReplaced = value;
                output.Set(!value && _level);
            }
        }

        public void Set(bool asserted)
        {
            _level = asserted;
            if (!_isReplaced)
                output.Set(asserted);
        }
    }
}
