using Doppel.Machine.Bus;
using Doppel.Machine.Interrupts;
using Doppel.Machine.State;
using Doppel.Machine.Time;

namespace Doppel.Devices.Pc;

/// <summary>
/// ACPI's fixed hardware (ACPI 6.4, section 4.8): PM1a event and control registers, the 32-bit power management timer,
/// general-purpose event block 0, the SMI command port that switches ACPI on, and the power button. The system control
/// interrupt is level-triggered and active high.
/// </summary>
public sealed class AcpiPm : IDevice, IDisposable
{
    private const ushort TimerStatus = 0x0001, GlobalStatus = 0x0020, PowerButton = 0x0100, SleepButton = 0x0200, RtcStatus = 0x0400, WakeStatus = 0x8000;
    private const ushort EnableMask = TimerStatus | GlobalStatus | PowerButton | SleepButton | RtcStatus;
    private const ushort StatusMask = EnableMask | 0x0010 | WakeStatus;
    private const ushort SciEnable = 0x0001, ControlMask = 0x1C03, SleepEnable = 0x2000;
    private const int HighBit = 31;

    private static readonly TickRate Rate = new(PcPorts.PmTimerFrequency);
    private readonly IGuestClock _clock;
    private readonly IInterruptLine _sci;
    private readonly Action _powerOff;
    private readonly IGuestTimer _timer;
    private readonly IoRange[] _ports;
    private readonly IoRange[] _block;
    private readonly List<ulong> _mapped = [];
    private ushort _status;
    private ushort _enable;
    private ushort _control;
    private ushort _eventStatus;
    private ushort _eventEnable;
    private byte _smiData;
    private byte _smiCommand;
    private long _seenHalf;
    private bool _rtcLevel;

    /// <summary>Creates the block with ACPI off.</summary>
    /// <param name="clock">The machine's time.</param>
    /// <param name="sci">The system control interrupt, number <see cref="PcPorts.SciIrq"/>.</param>
    /// <param name="powerOff">Called when the guest enters S5.</param>
    /// <param name="isRelocatable">True for registers that appear where <see cref="MoveTo"/> places them, as the PIIX4 has them; false for those at fixed ports.</param>
    public AcpiPm(IGuestClock clock, IInterruptLine sci, Action powerOff, bool isRelocatable = false)
    {
        ArgumentNullException.ThrowIfNull(clock);
        ArgumentNullException.ThrowIfNull(sci);
        _clock = clock;
        _sci = sci;
        _powerOff = powerOff;
        _timer = clock.CreateTimer("acpi-pm", OnTimer);
        RtcInput = new CallbackLine(OnRtc);
        _seenHalf = Half();
        // The PIIX4's places (data sheet 290562, 11.3.1 to 11.3.5); all but the last are those of the fixed ports too.
        _block =
        [
            new IoRange(0, PcPorts.Pm1EventLength, new BytePorts("acpi-pm1-event", PcPorts.Pm1EventLength, ReadEvent, WriteEvent)),
            new IoRange(PcPorts.Pm1Control - PcPorts.Pm1Event, PcPorts.Pm1ControlLength, new BytePorts("acpi-pm1-control", PcPorts.Pm1ControlLength, o => (byte)(_control >> (8 * o)), WriteControl)),
            new IoRange(PcPorts.PmTimer - PcPorts.Pm1Event, PcPorts.PmTimerLength, new PmTimerRegion(this)),
            new IoRange(isRelocatable ? Piix4GeneralEvent : (ulong)(PcPorts.Gpe0 - PcPorts.Pm1Event), PcPorts.Gpe0Length, new BytePorts("acpi-gpe0", PcPorts.Gpe0Length, ReadGeneral, WriteGeneral)),
        ];
        var smi = new IoRange(PcPorts.SmiCommand, 2, new BytePorts("smi", 2, o => o == 0 ? _smiCommand : _smiData, WriteSmi));
        _ports = isRelocatable ? [smi] : [.. _block.Select(range => range with { Start = range.Start + PcPorts.Pm1Event }), smi];
    }

    /// <summary>Offset of general-purpose event block 0 from the base of registers that can be moved.</summary>
    public const ushort Piix4GeneralEvent = 0x0C;

    /// <summary>Where the registers that can be moved are; null for nowhere.</summary>
    public ushort? Base { get; private set; }

    /// <summary>Moves the registers; what lies over another device's answers nowhere.</summary>
    /// <param name="ports">The ports.</param>
    /// <param name="start">The first port, a multiple of 64; null for nowhere.</param>
    internal void MoveTo(IoBus ports, ushort? start)
    {
        if (start == Base)
            return;
        foreach (ulong mapped in _mapped)
            ports.Unmap(mapped);
        _mapped.Clear();
        Base = start;
        if (start is not ushort first)
            return;
        foreach (IoRange range in _block)
        {
            if (ports.TryMap(first + range.Start, range.Length, range.Region))
                _mapped.Add(first + range.Start);
        }
    }

    /// <summary>The real-time clock's interrupt: its beginning sets RTC_STS (ACPI 6.4, 4.8.2.4), by which an alarm wakes a guest that sleeps.</summary>
    public IInterruptLine RtcInput { get; }

    /// <inheritdoc/>
    public string SectionName => "acpi-pm";

    /// <inheritdoc/>
    public int SectionVersion => 1;

    /// <inheritdoc/>
    public IReadOnlyList<IoRange> Ports => _ports;

    /// <summary>True while the guest runs with ACPI on.</summary>
    public bool IsAcpiEnabled => (_control & SciEnable) != 0;

    /// <summary>True while the guest wants to hear of the power button (ACPI 6.4, section 4.8.2.2.1).</summary>
    public bool ListensToPowerButton => IsAcpiEnabled && (_enable & PowerButton) != 0;

    /// <summary>The power management timer's value.</summary>
    public uint TimerValue => (uint)Rate.TicksAt(_clock.Now);

    /// <summary>The user presses the power button: sets its status, which interrupts a guest that enabled it. With the I/O lock held.</summary>
    public void PressPowerButton()
    {
        _status |= PowerButton;
        Update();
    }

    /// <summary>Raises a general-purpose event, 0 to 15. With the I/O lock held.</summary>
    public void RaiseGeneralEvent(int number)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(number);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(number, 15);
        _eventStatus |= (ushort)(1 << number);
        Update();
    }

    /// <inheritdoc/>
    public void Reset()
    {
        _status = _enable = _control = _eventStatus = _eventEnable = 0;
        _smiCommand = _smiData = 0;
        _seenHalf = Half();
        Update();
    }

    /// <inheritdoc/>
    public void Save(StateWriter writer)
    {
        Refresh();
        ReadOnlySpan<ushort> registers = [_status, _enable, _control, _eventStatus, _eventEnable];
        foreach (ushort register in registers)
            writer.Write(register);
        writer.Write(_smiCommand);
        writer.Write(_smiData);
        writer.Write(_seenHalf);
    }

    /// <inheritdoc/>
    public void Restore(StateReader reader, int version)
    {
        StateCheck.Version(SectionName, version, SectionVersion);
        ushort status = (ushort)(reader.ReadUInt16() & StatusMask);
        ushort enable = (ushort)(reader.ReadUInt16() & EnableMask);
        ushort control = (ushort)(reader.ReadUInt16() & ControlMask);
        ushort eventStatus = reader.ReadUInt16();
        ushort eventEnable = reader.ReadUInt16();
        byte smiCommand = reader.ReadByte();
        byte smiData = reader.ReadByte();
        long seenHalf = StateCheck.Range(SectionName, "timer half", reader.ReadInt64(), 0, long.MaxValue >> HighBit);
        (_status, _enable, _control, _eventStatus, _eventEnable) = (status, enable, control, eventStatus, eventEnable);
        (_smiCommand, _smiData, _seenHalf) = (smiCommand, smiData, seenHalf);
        Update();
    }

    /// <inheritdoc/>
    public void Dispose() => _timer.Dispose();

    private long Half() => Rate.TicksAt(_clock.Now) >> HighBit;

    private byte ReadEvent(int offset)
    {
        Refresh();
        int value = _status | (_enable << 16);
        return (byte)(value >> (8 * offset));
    }

    private void WriteEvent(int offset, byte value)
    {
        Refresh();
        int shift = 8 * (offset & 1);
        if (offset < 2)
            _status &= (ushort)~(value << shift);
        else
            _enable = (ushort)(((_enable & ~(0xFF << shift)) | (value << shift)) & EnableMask);
        Update();
    }

    private void WriteControl(int offset, byte value)
    {
        if (offset == 0)
        {
            // SCI_EN belongs to the SMI command port; GBL_RLS (bit 2) always reads 0.
            _control = (ushort)((_control & ~2) | (value & 2));
            return;
        }

        int high = value << 8;
        _control = (ushort)((_control & ~0x1C00) | (high & 0x1C00));
        if ((high & SleepEnable) != 0 && ((high >> 10) & 7) is PcPorts.SleepTypeOff or PcPorts.SleepTypePiix4Off)
            _powerOff();
    }

    private byte ReadGeneral(int offset)
    {
        int value = _eventStatus | (_eventEnable << 16);
        return (byte)(value >> (8 * offset));
    }

    private void WriteGeneral(int offset, byte value)
    {
        int shift = 8 * (offset & 1);
        if (offset < 2)
            _eventStatus &= (ushort)~(value << shift);
        else
            _eventEnable = (ushort)((_eventEnable & ~(0xFF << shift)) | (value << shift));
        Update();
    }

    private void WriteSmi(int offset, byte value)
    {
        if (offset == 1)
        {
            _smiData = value;
            return;
        }

        _smiCommand = value;
        if (value == PcPorts.AcpiEnable)
            _control |= SciEnable;
        else if (value == PcPorts.AcpiDisable)
            _control &= unchecked((ushort)~SciEnable);
        Update();
    }

    private void Refresh()
    {
        // The status is set whenever the timer's top bit changes (ACPI 6.4, 4.8.3.1.1).
        long half = Half();
        if (half != _seenHalf)
            _status |= TimerStatus;
        _seenHalf = half;
    }

    private void Update()
    {
        Refresh();
        bool request = (_status & _enable & EnableMask) != 0 || (_eventStatus & _eventEnable) != 0;
        _sci.Set(request && IsAcpiEnabled);
        if ((_enable & TimerStatus) != 0 && (_status & TimerStatus) == 0)
            _timer.Arm(Rate.TimeOf((_seenHalf + 1) << HighBit));
        else
            _timer.Disarm();
    }

    private void OnTimer() => Update();

    private void OnRtc(bool level)
    {
        if (level && !_rtcLevel)
        {
            _status |= RtcStatus;
            Update();
        }

        _rtcLevel = level;
    }

    private sealed class PmTimerRegion(AcpiPm owner) : IIoRegion
    {
        public string Name => "acpi-pm-timer";

        public ulong Read(ulong offset, int size)
        {
            // One sample for the whole access: bytes of different ticks would tear.
            ulong value = offset < 4 ? owner.TimerValue >> (8 * (int)offset) : ulong.MaxValue;
            return size == 8 ? value : value & ((1UL << (8 * size)) - 1);
        }

        public void Write(ulong offset, int size, ulong value)
        {
        }
    }
}
