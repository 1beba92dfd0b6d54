using Doppel.Devices.Pci;
using Doppel.Machine.Bus;
using Doppel.Machine.State;
using Doppel.Machine.Time;

namespace Doppel.Devices.Usb;

/// <summary>
/// The USB function of Intel's PIIX3 (8086:7020; Universal Host Controller Interface design guide, revision 1.1): a controller
/// of two ports that walks a schedule in guest memory once each millisecond. The machine's I/O lock guards it.
/// </summary>
/// <remarks>
/// While nothing but NAKs comes of the schedule, several frames are walked at once, so that a guest that waits for a pointer to
/// move doesn't cost its host a thousand wakings in a second. What the guest reads is always up to date: a frame that is due is
/// walked before a register is read.
/// </remarks>
public sealed partial class UhciController : PciFunction, IDisposable
{
    /// <summary>Where it sits: 00:01.2.</summary>
    public static readonly PciAddress DefaultAddress = new(0, 1, 2);

    private const int PortCount = 2, RegisterBytes = 32, FirstPort = 0x10;
    private const ushort Run = 0x01, HostReset = 0x02, GlobalReset = 0x04, GlobalSuspend = 0x08, ForceResume = 0x10;
    private const ushort Interrupt = 0x01, ErrorInterrupt = 0x02, ResumeDetected = 0x04, SystemError = 0x08, ProcessError = 0x10, Halted = 0x20;
    private const ushort EnableError = 0x01, EnableResume = 0x02, EnableComplete = 0x04, EnableShort = 0x08;
    private const long FrameTime = 1_000_000;
    private const int QuietFrames = 16, FramesAtOnce = 8, MostFramesBehind = 64;
    private readonly DevicePlatform _platform;
    private readonly IGuestClock _clock;
    private readonly IGuestTimer _timer;
    private readonly UhciPort[] _ports;
    private readonly IUsbDevice _device;
    private ushort _command;
    private ushort _status;
    private ushort _interruptEnable;
    private ushort _frame;
    private uint _frameList;
    private byte _frameLength = 0x40;
    private bool _hasCompleted;
    private bool _hasShort;
    private int _quietFrames;
    private long _nextFrame;

    /// <summary>Creates a controller that is not on a bus yet.</summary>
    /// <param name="device">What is in its first port.</param>
    /// <param name="platform">Guest memory and the I/O lock.</param>
    /// <param name="clock">The machine's time.</param>
    /// <param name="portBus">Where its registers appear.</param>
    /// <param name="memoryBus">The bus of memory, on which it has nothing.</param>
    public UhciController(IUsbDevice device, DevicePlatform platform, IGuestClock clock, IoBus portBus, IoBus memoryBus)
        : base("uhci", new PciConfigSpace(0x8086, 0x7020, 0x0C0300, revision: 1), portBus, memoryBus)
    {
        ArgumentNullException.ThrowIfNull(device);
        ArgumentNullException.ThrowIfNull(platform);
        ArgumentNullException.ThrowIfNull(clock);
        _device = device;
        _platform = platform;
        _clock = clock;
        _ports = [new UhciPort(device), new UhciPort(null)];
        _timer = clock.CreateTimer("uhci", OnTimer);
        Config.Define(PciConfigSpace.Command, 2, 0, writable: 0x0405);
        Config.Define(PciConfigSpace.Status, 2, 0x0280, clearable: 0x3800);
        // The release of USB, and the register of the keyboard's emulation, of which there is none.
        Config.Define(0x60, 1, 0x10);
        Config.Define(0xC0, 2, 0x2000, writable: 0x20BF);
        InterruptPin = 4;
        AddBar(new PciBar(4, RegisterBytes, new Registers(this), IsPort: true));
        device.Changed += OnDeviceChanged;
    }

    private bool IsRunning => (_command & Run) != 0;

    /// <inheritdoc/>
    public override void WriteConfig(int offset, int size, uint value)
    {
        // Frames up to now are walked by what held until now.
        CatchUp();
        base.WriteConfig(offset, size, value);
    }

    /// <inheritdoc/>
    public override void Reset()
    {
        base.Reset();
        ResetController();
    }

    /// <summary>Takes its timer from the clock.</summary>
    public void Dispose()
    {
        _device.Changed -= OnDeviceChanged;
        _timer.Dispose();
    }

    /// <inheritdoc/>
    protected override void SaveFunction(StateWriter writer)
    {
        ArgumentNullException.ThrowIfNull(writer);
        foreach (ushort register in (ReadOnlySpan<ushort>)[_command, _status, _interruptEnable, _frame])
            writer.Write(register);
        writer.Write(_frameList);
        writer.Write(_frameLength);
        writer.Write(_hasCompleted);
        writer.Write(_hasShort);
        writer.Write(_quietFrames);
        writer.Write(_nextFrame);
        foreach (UhciPort port in _ports)
            port.Save(writer);
    }

    /// <inheritdoc/>
    protected override Action ReadFunction(StateReader reader)
    {
        ArgumentNullException.ThrowIfNull(reader);
        ushort command = (ushort)StateCheck.Range(SectionName, "command", reader.ReadUInt16(), 0, 0xFF);
        ushort status = (ushort)StateCheck.Range(SectionName, "status", reader.ReadUInt16(), 0, 0x1F);
        ushort enable = (ushort)StateCheck.Range(SectionName, "interrupt enable", reader.ReadUInt16(), 0, 15);
        ushort frame = (ushort)StateCheck.Range(SectionName, "frame number", reader.ReadUInt16(), 0, 0x7FF);
        uint list = reader.ReadUInt32() & ~0xFFFu;
        byte length = (byte)StateCheck.Range(SectionName, "length of frames", reader.ReadByte(), 0, 0x7F);
        bool completed = reader.ReadBool(), isShort = reader.ReadBool();
        int quiet = (int)StateCheck.Range(SectionName, "quiet frames", reader.ReadInt32(), 0, QuietFrames);
        long next = StateCheck.Range(SectionName, "time of the next frame", reader.ReadInt64(), 0, long.MaxValue / 4);
        Action[] ports = [.. _ports.Select(port => port.ReadState(reader, SectionName))];
        return () =>
        {
            (_command, _status, _interruptEnable, _frame, _frameList, _frameLength) = (command, status, enable, frame, list, length);
            (_hasCompleted, _hasShort, _quietFrames, _nextFrame) = (completed, isShort, quiet, next);
            foreach (Action port in ports)
                port();
            Arm();
            UpdateInterrupt();
        };
    }

    private ushort Read(int offset) => offset switch
    {
        0x00 => _command,
        0x02 => (ushort)(_status | (IsRunning ? 0 : Halted)),
        0x04 => _interruptEnable,
        0x06 => _frame,
        0x08 => (ushort)_frameList,
        0x0A => (ushort)(_frameList >> 16),
        0x0C => _frameLength,
        >= FirstPort when (offset - FirstPort) / 2 < PortCount => _ports[(offset - FirstPort) / 2].Value,
        // By bit 7 drivers see that there are no more ports.
        >= FirstPort => 0xFF7F,
        _ => 0,
    };

    private void Write(int offset, ushort value, ushort mask)
    {
        ushort whole = (ushort)((Read(offset) & ~mask) | (value & mask));
        switch (offset)
        {
            case 0x00:
                WriteCommand(whole);
                break;
            case 0x02:
                // Ones clear.
                ushort cleared = (ushort)(value & mask);
                _status &= (ushort)~cleared;
                if ((cleared & Interrupt) != 0)
                    _hasCompleted = _hasShort = false;
                break;
            case 0x04:
                _interruptEnable = (ushort)(whole & 0xF);
                break;
            case 0x06 when !IsRunning:
                _frame = (ushort)(whole & 0x7FF);
                break;
            case 0x08:
                _frameList = (_frameList & 0xFFFF_0000) | (whole & 0xF000u);
                break;
            case 0x0A:
                _frameList = (_frameList & 0xFFFF) | ((uint)whole << 16);
                break;
            case 0x0C:
                _frameLength = (byte)(whole & 0x7F);
                break;
            case >= FirstPort when (offset - FirstPort) / 2 < PortCount:
                // Of the bits that ones clear, those that aren't written stay.
                _ports[(offset - FirstPort) / 2].Write((ushort)((whole & ~0x0A) | (value & mask & 0x0A)));
                UpdateDevices();
                break;
        }

        UpdateInterrupt();
    }

    private void WriteCommand(ushort value)
    {
        if ((value & HostReset) != 0)
        {
            ResetController();
            return;
        }

        bool wasRunning = IsRunning, wasInReset = (_command & GlobalReset) != 0;
        _command = (ushort)(value & 0xFF);
        if ((value & GlobalReset) != 0 && !wasInReset)
        {
            foreach (UhciPort port in _ports)
                port.ResetBus();
        }

        if (IsRunning && !wasRunning)
        {
            _nextFrame = _clock.Now + FrameTime;
            _quietFrames = 0;
            Arm();
        }
        else if (!IsRunning)
        {
            _timer.Disarm();
        }

        UpdateDevices();
    }

    private void ResetController()
    {
        _command = _status = _interruptEnable = _frame = 0;
        _frameList = 0;
        _frameLength = 0x40;
        _hasCompleted = _hasShort = false;
        _quietFrames = 0;
        _nextFrame = 0;
        foreach (UhciPort port in _ports)
            port.Reset();
        _timer.Disarm();
        UpdateInterrupt();
    }

    private void OnTimer()
    {
        CatchUp();
        Arm();
    }

    private void OnDeviceChanged()
    {
        DetectResume();
        UpdateInterrupt();
    }

    private void UpdateDevices()
    {
        bool isBusSuspended = (_command & (GlobalSuspend | ForceResume)) == GlobalSuspend;
        foreach (UhciPort port in _ports)
            port.UpdateDevice(isBusSuspended);
        DetectResume();
    }

    private void DetectResume()
    {
        foreach (UhciPort port in _ports)
        {
            if (port.DetectResume())
                _status |= ResumeDetected;
        }
    }

    private void UpdateInterrupt()
    {
        bool completes = (_hasCompleted && (_interruptEnable & EnableComplete) != 0) || (_hasShort && (_interruptEnable & EnableShort) != 0);
        bool fails = (_status & ErrorInterrupt) != 0 && (_interruptEnable & EnableError) != 0;
        bool resumes = (_status & ResumeDetected) != 0 && (_interruptEnable & EnableResume) != 0;
        SetInterrupt(completes || fails || resumes || (_status & (SystemError | ProcessError)) != 0);
    }

    private void Arm()
    {
        if (IsRunning)
            _timer.Arm(_nextFrame + (_quietFrames < QuietFrames ? 0 : (FramesAtOnce - 1) * FrameTime));
        else
            _timer.Disarm();
    }

    private void CatchUp()
    {
        if (!IsRunning || _clock.Now < _nextFrame)
            return;
        long due = ((_clock.Now - _nextFrame) / FrameTime) + 1;
        // Frames that nobody walked in time are over; they have been counted only.
        if (due > MostFramesBehind)
        {
            long lost = due - MostFramesBehind;
            _frame = (ushort)((_frame + lost) & 0x7FF);
            _nextFrame += lost * FrameTime;
            due = MostFramesBehind;
        }

        for (; due > 0 && IsRunning; due--)
        {
            _quietFrames = WalkFrame() ? 0 : Math.Min(_quietFrames + 1, QuietFrames);
            _frame = (ushort)((_frame + 1) & 0x7FF);
            _nextFrame += FrameTime;
        }

        // When it wakes next follows from what is saved, whoever made it catch up.
        Arm();
        UpdateInterrupt();
    }

    private sealed class Registers(UhciController owner) : IIoRegion
    {
        public string Name => "uhci";

        public ulong Read(ulong offset, int size)
        {
            owner.CatchUp();
            ulong value = 0;
            for (int i = 0; i < size; i++)
            {
                int at = (int)Math.Min(offset + (uint)i, RegisterBytes - 1);
                value |= (ulong)(byte)(owner.Read(at & ~1) >> (8 * (at & 1))) << (8 * i);
            }

            return value;
        }

        public void Write(ulong offset, int size, ulong value)
        {
            owner.CatchUp();
            for (int i = 0; i < size && offset + (uint)i < RegisterBytes;)
            {
                int at = (int)offset + i;
                bool isWord = (at & 1) == 0 && i + 1 < size;
                ushort part = (ushort)(value >> (8 * i));
                if (isWord)
                    owner.Write(at, part, 0xFFFF);
                else
                    owner.Write(at & ~1, (ushort)((byte)part << (8 * (at & 1))), (ushort)(0xFF << (8 * (at & 1))));
                i += isWord ? 2 : 1;
            }
        }
    }
}
