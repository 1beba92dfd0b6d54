using Doppel.Devices.Console;
using Doppel.Machine.Interrupts;
using Doppel.Machine.State;

namespace Doppel.Devices.Pc;

/// <summary>
/// A parallel port: bidirectional, with the registers of EPP (IEEE 1284-1994; National Semiconductor PC87332 data sheet, "Parallel
/// Port"), and a printer that takes each byte by its strobe, is never out of paper, and knows nothing of EPP.
/// </summary>
/// <remarks>
/// The printer is busy while the strobe is active, and as long as the back end accepts no output; the byte waits in the printer
/// meanwhile, so that none is lost. Its acknowledge pulse lasts until a program has seen it, as SeaBIOS waits to. An EPP cycle times out,
/// since nobody answers it. The status's unused bits are 0: SeaBIOS hands the register to programs as it is, which compare it with 90h and D0h
/// and take bit 0 for a printer that doesn't answer.
/// </remarks>
public sealed class ParallelPort : IDevice, IDisposable
{
    // Register 0 data, 1 status, 2 control.
    private const int RegisterCount = 8;
    private const byte NotBusy = 0x80, NotAcknowledge = 0x40, Selected = 0x10, NoError = 0x08, TimedOut = 0x01;
    private const byte Strobe = 0x01, NotInitialize = 0x04, SelectIn = 0x08, InterruptEnable = 0x10, Reverse = 0x20;
    private const byte ControlBits = 0x3F, ControlUnused = 0xC0;
    private const byte FirstControl = NotInitialize | SelectIn;

    private readonly IInterruptLine _line;
    private readonly IConsoleBackend _backend;
    private readonly Lock _ioLock;
    private readonly IoRange[] _ports;
    private byte _data;
    private byte _control = FirstControl;
    private bool _isHeld;
    private byte _held;
    private bool _owesAcknowledge;
    private bool _acknowledges;
    private bool _hasTimedOut;
    private bool _interrupts;

    /// <summary>Creates the port in its reset state and connects the back end.</summary>
    /// <param name="name">Name for traces and the saved section, for example "parallel0".</param>
    /// <param name="firstPort">First of its ports.</param>
    /// <param name="line">Its interrupt.</param>
    /// <param name="backend">What is printed on; its input is left alone. Not disposed here.</param>
    /// <param name="ioLock">The machine's I/O lock: taken when the back end accepts output again.</param>
    public ParallelPort(string name, ushort firstPort, IInterruptLine line, IConsoleBackend backend, Lock ioLock)
    {
        ArgumentNullException.ThrowIfNull(line);
        ArgumentNullException.ThrowIfNull(backend);
        SectionName = name;
        _line = line;
        _backend = backend;
        _ioLock = ioLock;
        _ports = [new IoRange(firstPort, RegisterCount, new BytePorts(name, RegisterCount, Read, Write))];
        _backend.OutputDrained += OnDrained;
    }

    /// <inheritdoc/>
    public string SectionName { get; }

    /// <inheritdoc/>
    public int SectionVersion => 1;

    /// <inheritdoc/>
    public IReadOnlyList<IoRange> Ports => _ports;

    /// <inheritdoc/>
    public void Reset()
    {
        // What the printer has taken it prints.
        if (_isHeld)
            _backend.Write([_held]);
        _data = _held = 0;
        _control = FirstControl;
        _isHeld = _owesAcknowledge = _acknowledges = _hasTimedOut = false;
        SetInterrupt(false);
    }

    /// <inheritdoc/>
    public void Save(StateWriter writer)
    {
        writer.Write(_data);
        writer.Write(_control);
        writer.Write(_isHeld);
        writer.Write(_held);
        writer.Write(_owesAcknowledge);
        writer.Write(_acknowledges);
        writer.Write(_hasTimedOut);
        writer.Write(_interrupts);
    }

    /// <inheritdoc/>
    public void Restore(StateReader reader, int version)
    {
        StateCheck.Version(SectionName, version, SectionVersion);
        byte data = reader.ReadByte();
        byte control = (byte)StateCheck.Range(SectionName, "control", reader.ReadByte(), 0, ControlBits);
        bool isHeld = reader.ReadBool();
        byte held = reader.ReadByte();
        bool owesAcknowledge = reader.ReadBool(), acknowledges = reader.ReadBool(), hasTimedOut = reader.ReadBool(), interrupts = reader.ReadBool();
        (_data, _control, _isHeld, _held) = (data, control, isHeld, held);
        (_owesAcknowledge, _acknowledges, _hasTimedOut) = (owesAcknowledge, acknowledges, hasTimedOut);
        SetInterrupt(interrupts && (control & InterruptEnable) != 0);
        Print();
    }

    /// <summary>Disconnects the back end.</summary>
    public void Dispose() => _backend.OutputDrained -= OnDrained;

    private byte Read(int register)
    {
        switch (register)
        {
            case 0:
                // In reverse nobody drives the lines, and their resistors pull them up.
                return (_control & Reverse) != 0 ? (byte)0xFF : _data;
            case 1:
                byte status = Status();
                _acknowledges = _hasTimedOut = false;
                SetInterrupt(false);
                return status;
            case 2:
                return (byte)(_control | ControlUnused);
            default:
                _hasTimedOut = true;
                return 0xFF;
        }
    }

    private byte Status()
    {
        int status = Selected | NoError;
        if (!_isHeld && (_control & Strobe) == 0)
            status |= NotBusy;
        if (!_acknowledges)
            status |= NotAcknowledge;
        if (_hasTimedOut)
            status |= TimedOut;
        return (byte)status;
    }

    private void Write(int register, byte value)
    {
        switch (register)
        {
            case 0:
                _data = value;
                break;
            case 1:
                // A driver clears the bit by writing it, where reading doesn't.
                _hasTimedOut &= (value & TimedOut) == 0;
                break;
            case 2:
                WriteControl((byte)(value & ControlBits));
                break;
            default:
                _hasTimedOut = true;
                break;
        }
    }

    private void WriteControl(byte value)
    {
        bool strobes = (value & ~_control & Strobe) != 0;
        _control = value;
        if ((value & InterruptEnable) == 0)
            SetInterrupt(false);
        // One that is being initialized, or isn't selected, takes nothing; nor does one that is busy.
        if (strobes && !_isHeld && (value & (NotInitialize | SelectIn)) == (NotInitialize | SelectIn))
        {
            _isHeld = _owesAcknowledge = true;
            _acknowledges = false;
            _held = (value & Reverse) != 0 ? (byte)0xFF : _data;
        }

        Print();
    }

    private void Print()
    {
        if (_isHeld && _backend.CanAcceptOutput)
        {
            _backend.Write([_held]);
            _isHeld = false;
        }

        // The strobe is awaited: the interrupt says that the next byte may come.
        if (_isHeld || !_owesAcknowledge || (_control & Strobe) != 0)
            return;
        _owesAcknowledge = false;
        _acknowledges = true;
        if ((_control & InterruptEnable) == 0)
            return;
        SetInterrupt(false);
        SetInterrupt(true);
    }

    private void SetInterrupt(bool level)
    {
        _interrupts = level;
        _line.Set(level);
    }

    private void OnDrained()
    {
        lock (_ioLock)
            Print();
    }
}
