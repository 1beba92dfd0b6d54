using Doppel.Devices.Pc;
using Doppel.Devices.Storage;
using Doppel.Machine.Interrupts;
using Doppel.Machine.Time;

namespace Doppel.Devices.Floppy;

/// <summary>
/// Floppy controller (Intel 82077AA data sheet, 290166) with two drives: reads, writes and formats by DMA or by programmed I/O.
/// Its interrupts come by the guest's clock, sooner than a real drive's. The machine's I/O lock guards it.
/// </summary>
public sealed partial class FloppyController : IDevice, IBackgroundDevice, IDisposable
{
    /// <summary>First port: status, digital output, tape drive, main status and data; the last, at 7, is the direction of the disk change line.</summary>
    public const int FirstPort = 0x3F0;

    /// <summary>Its interrupt.</summary>
    public const int Irq = 6;

    /// <summary>Drives on the cable.</summary>
    public const int DriveCount = 2;

    // A drive turns five times a second and needs milliseconds to step; nobody wants to wait for that, but drivers expect that
    // the interrupt comes after they have written the command's last byte.
    private const long ResetTime = 50_000, StepTime = 100_000, SectorTime = 100_000, RevolutionTime = 200_000_000, MissTime = 2 * RevolutionTime;

    private const byte NotReset = 4, DmaGate = 8, MotorBits = 0xF0;
    private const byte Ready = 0x80, ToHost = 0x40, NonDma = 0x20, CommandBusy = 0x10;
    private const int ResultLimit = 16;
    private const int FormatLimit = 255 * 4;

    private readonly FloppyDrive?[] _drives;
    private readonly IGuestClock _clock;
    private readonly IDmaChannel _dma;
    private readonly IInterruptLine _line;
    private readonly OperationSlot _medium;
    private readonly IGuestTimer _work;
    private readonly IGuestTimer _seek;
    private readonly IoRange[] _ports;

    private byte _output;
    private byte _tape;
    private byte _rate;
    private bool _interrupt;
    private Phase _phase;
    private readonly byte[] _command = new byte[ResultLimit];
    private int _commandLength;
    private readonly byte[] _result = new byte[ResultLimit];
    private int _resultLength;
    private int _resultAt;
    private readonly byte?[] _senses = new byte?[4];
    private byte _seeking;

    // SPECIFY, CONFIGURE, PERPENDICULAR MODE and LOCK.
    private byte _specify1, _specify2, _configuration, _precompensation, _perpendicular;
    private bool _isLocked;

    /// <summary>Creates the controller.</summary>
    /// <param name="drives">The diskettes of its drives, at most <see cref="DriveCount"/>; null for an empty drive.</param>
    /// <param name="platform">What it is given of the machine.</param>
    /// <param name="clock">Guest time.</param>
    /// <param name="dma">Its DMA channel.</param>
    /// <param name="line">Its interrupt.</param>
    /// <param name="full">Told that the host has no room; the machine should pause, and the operation begins anew when it goes on. Any thread. Null makes it an error.</param>
    /// <exception cref="ArgumentOutOfRangeException">No diskette has the size of a medium.</exception>
    public FloppyController(IReadOnlyList<IBlockBackend?> drives, DevicePlatform platform, IGuestClock clock, IDmaChannel dma, IInterruptLine line, Action<StorageFullException>? full = null)
    {
        ArgumentNullException.ThrowIfNull(drives);
        ArgumentNullException.ThrowIfNull(platform);
        ArgumentNullException.ThrowIfNull(clock);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(drives.Count, DriveCount);
        _drives = new FloppyDrive?[DriveCount];
        for (int i = 0; i < drives.Count; i++)
        {
            _drives[i] = new FloppyDrive();
            _drives[i]!.Insert(drives[i]);
        }

        _clock = clock;
        _dma = dma;
        _line = line;
        _medium = new OperationSlot(SectionName, platform, full);
        _work = clock.CreateTimer("floppy", OnWork);
        _seek = clock.CreateTimer("floppy-seek", OnSeekDone);
        // Port 3F6h belongs to the IDE controller.
        _ports =
        [
            new IoRange(FirstPort, 6, new BytePorts("floppy", 6, ReadPort, WritePort)),
            new IoRange(FirstPort + 7, 1, new BytePorts("floppy-change", 1, _ => ReadChange(), (_, value) => _rate = (byte)(value & 3))),
        ];
        Reset();
    }

    private enum Phase : byte
    {
        Command,
        Execution,
        DataIn,
        DataOut,
        Result,
    }

    /// <inheritdoc/>
    public string SectionName => "floppy";

    /// <inheritdoc/>
    public int SectionVersion => 1;

    /// <inheritdoc/>
    public IReadOnlyList<IoRange> Ports => _ports;

    private bool UsesDma => (_specify2 & 1) == 0;

    /// <summary>Puts another diskette into a drive, or takes it out. An operation that is under way on it fails.</summary>
    /// <param name="drive">The drive, 0 or 1; it exists.</param>
    /// <param name="medium">The diskette; null for none.</param>
    /// <returns>Completes when nothing uses the old one any more. Not to be waited for with the I/O lock held.</returns>
    /// <exception cref="ArgumentOutOfRangeException">No diskette has the size of the medium.</exception>
    public Task ChangeMedium(int drive, IBlockBackend? medium)
    {
        FloppyDrive changed = _drives[drive] ?? throw new ArgumentOutOfRangeException(nameof(drive), drive, "there is no such drive");
        changed.Insert(medium);
        if (_phase is Phase.Execution or Phase.DataIn or Phase.DataOut && _unit == drive)
        {
            AbandonWork();
            Finish(AbnormalEnd, MissingAddress);
        }

        return _medium.Ended();
    }

    /// <inheritdoc/>
    public void Reset()
    {
        _output = 0;
        _tape = 0;
        _rate = 2;
        _isLocked = false;
        (_specify1, _specify2, _perpendicular) = (0, 0, 0);
        foreach (FloppyDrive? drive in _drives)
            drive?.Cylinder = 0;
        ResetController();
        UpdateLine();
    }

    /// <inheritdoc/>
    public Task HoldAsync() => _medium.HoldAsync();

    /// <inheritdoc/>
    public void Release() => _medium.Release();

    /// <inheritdoc/>
    public void Dispose()
    {
        _work.Dispose();
        _seek.Dispose();
        _medium.Dispose();
    }

    private FloppyDrive? DriveOf(int unit) => unit < DriveCount ? _drives[unit] : null;

    private bool HasMotor(int unit) => (_output & (0x10 << unit)) != 0;

    private byte ReadPort(int port)
    {
        switch (port)
        {
            case 0:
                // Status register A in PS/2 mode: the interrupt, and no second drive's line.
                return (byte)((_interrupt ? 0x80 : 0) | (_drives[1] is null ? 0x40 : 0));
            case 1:
                // Status register B: drive 0 selected, and its motor.
                return (byte)(0xC0 | ((_output & 1) << 5) | ((_output >> 4) & 3));
            case 2:
                return _output;
            case 3:
                return _tape;
            case 4:
                return MainStatus();
            default:
                return ReadData();
        }
    }

    private void WritePort(int port, byte value)
    {
        switch (port)
        {
            case 2:
                WriteOutput(value);
                break;
            case 3:
                _tape = (byte)(value & 3);
                break;
            case 4:
                _rate = (byte)(value & 3);
                if ((value & 0x80) != 0)
                {
                    ResetController();
                    _work.Arm(_clock.Now + ResetTime);
                }

                break;
            case 5:
                WriteData(value);
                break;
            default:
                break;
        }
    }

    private byte ReadChange()
    {
        int unit = _output & 3;
        return DriveOf(unit) is { IsChanged: true } && HasMotor(unit) ? (byte)0x80 : (byte)0;
    }

    private byte MainStatus()
    {
        if ((_output & NotReset) == 0 || _isResetting)
            return 0;
        return (byte)(_seeking | _phase switch
        {
            Phase.Command => Ready | (_commandLength != 0 ? CommandBusy : 0),
            Phase.Result => Ready | ToHost | CommandBusy,
            Phase.DataIn => Ready | ToHost | NonDma | CommandBusy,
            Phase.DataOut => Ready | NonDma | CommandBusy,
            _ => CommandBusy | (UsesDma ? 0 : NonDma),
        });
    }

    private void WriteOutput(byte value)
    {
        byte old = _output;
        _output = value;
        if ((value & NotReset) == 0)
            ResetController();
        else if ((old & NotReset) == 0)
            _work.Arm(_clock.Now + ResetTime);
        UpdateLine();
    }

    /// <summary>A reset by a register: what is locked stays.</summary>
    private void ResetController()
    {
        AbandonWork();
        _seek.Disarm();
        _seeking = 0;
        _isResetting = true;
        _phase = Phase.Command;
        (_commandLength, _resultLength, _resultAt) = (0, 0, 0);
        Array.Clear(_senses);
        if (!_isLocked)
            (_configuration, _precompensation) = (0, 0);
        _perpendicular &= 0x3C;
        SetInterrupt(false);
    }

    private void SetInterrupt(bool pending)
    {
        _interrupt = pending;
        UpdateLine();
    }

    private void UpdateLine() => _line.Set(_interrupt && (_output & DmaGate) != 0);

    private byte ReadData()
    {
        if (_phase == Phase.DataIn)
        {
            SetInterrupt(false);
            byte data = _buffer[_position++];
            if (_position == _length)
                OnSectorTaken();
            return data;
        }

        if (_phase != Phase.Result)
            return 0;
        SetInterrupt(false);
        byte value = _result[_resultAt++];
        if (_resultAt == _resultLength)
            _phase = Phase.Command;
        return value;
    }

    private void WriteData(byte value)
    {
        if ((_output & NotReset) == 0 || _isResetting)
            return;
        if (_phase == Phase.DataOut)
        {
            SetInterrupt(false);
            _buffer[_position++] = value;
            if (_position == _length)
                OnSectorGiven();
            return;
        }

        if (_phase != Phase.Command)
            return;
        _command[_commandLength++] = value;
        if (_commandLength < LengthOf(_command[0]))
            return;
        _commandLength = 0;
        Execute();
    }
}
