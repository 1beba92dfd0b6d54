using Doppel.Machine.Bus;
using Doppel.Machine.Interrupts;
using Doppel.Machine.State;

namespace Doppel.Devices.Pc;

/// <summary>
/// The PS/2 keyboard controller at ports 60h and 64h (IBM PS/2 technical reference, "Keyboard and auxiliary device
/// controller"). A port without a device answers as the chip does: the byte FEh with the time-out bit set.
/// </summary>
public sealed class I8042 : IDevice
{
    private const byte OutputFull = 0x01, SystemFlag = 0x04, CommandLast = 0x08, NotInhibited = 0x10, AuxFull = 0x20, TimedOut = 0x40;
    private const byte KeyboardInterrupt = 0x01, AuxInterrupt = 0x02, KeyboardOff = 0x10, AuxOff = 0x20, Translate = 0x40;
    private const byte ResetHigh = 0x01, A20Open = 0x02;

    private readonly IInterruptLine _keyboardLine;
    private readonly IInterruptLine _auxLine;
    private readonly A20Gate _a20;
    private readonly Action _reset;
    private readonly IPs2Device? _keyboard;
    private readonly IPs2Device? _aux;
    private readonly IoRange[] _ports;
    private readonly byte[] _memory = new byte[32];
    private byte _outputPort;
    private byte _output;
    private byte _status;
    private byte _pendingCommand;
    private bool _breakPrefix;

    /// <summary>Creates the controller as firmware leaves it: tested, interrupts off, address line 20 open.</summary>
    /// <param name="keyboardLine">Interrupt 1.</param>
    /// <param name="auxLine">Interrupt 12.</param>
    /// <param name="a20">Address line 20, bit 1 of the output port.</param>
    /// <param name="reset">Called when the guest pulls the reset line.</param>
    /// <param name="keyboard">The keyboard; null when none is attached.</param>
    /// <param name="aux">The mouse; null when none is attached.</param>
    public I8042(IInterruptLine keyboardLine, IInterruptLine auxLine, A20Gate a20, Action reset, IPs2Device? keyboard = null, IPs2Device? aux = null)
    {
        ArgumentNullException.ThrowIfNull(keyboardLine);
        ArgumentNullException.ThrowIfNull(auxLine);
        ArgumentNullException.ThrowIfNull(a20);
        _keyboardLine = keyboardLine;
        _auxLine = auxLine;
        _a20 = a20;
        _reset = reset;
        _keyboard = keyboard;
        _aux = aux;
        if (keyboard is not null)
            keyboard.DataReady = Poll;
        if (aux is not null)
            aux.DataReady = Poll;
        PowerOn();
        _ports =
        [
            new IoRange(PcPorts.KeyboardData, 1, new BytePorts("i8042-data", 1, _ => ReadData(), (_, v) => WriteData(v))),
            new IoRange(PcPorts.KeyboardCommand, 1, new BytePorts("i8042-command", 1, _ => Status(), (_, v) => WriteCommand(v))),
        ];
    }

    /// <inheritdoc/>
    public string SectionName => "i8042";

    /// <inheritdoc/>
    public int SectionVersion => 2;

    /// <inheritdoc/>
    public IReadOnlyList<IoRange> Ports => _ports;

    private byte Configuration => _memory[0];

    /// <inheritdoc/>
    public void Reset()
    {
        PowerOn();
        _keyboard?.Reset();
        _aux?.Reset();
        _a20.Set(true);
        UpdateLines();
    }

    /// <summary>Takes what a device has to send; called when a key was pressed or the mouse moved. With the I/O lock held.</summary>
    public void Poll()
    {
        if ((_status & OutputFull) != 0)
            return;
        if ((Configuration & KeyboardOff) == 0 && _keyboard is not null && _keyboard.TryRead(out byte value))
            PutKeyboard(value);
        else if ((Configuration & AuxOff) == 0 && _aux is not null && _aux.TryRead(out value))
            Put(value, AuxFull);
    }

    /// <inheritdoc/>
    public void Save(StateWriter writer)
    {
        writer.Write(_memory.AsSpan());
        writer.Write(WithGate(_outputPort));
        writer.Write(_output);
        writer.Write(_status);
        writer.Write(_pendingCommand);
        writer.Write(_breakPrefix);
        writer.Write(_keyboard is not null);
        writer.Write(_aux is not null);
        _keyboard?.Save(writer);
        _aux?.Save(writer);
    }

    /// <inheritdoc/>
    public void Restore(StateReader reader, int version)
    {
        StateCheck.Version(SectionName, version, SectionVersion);
        byte[] memory = StateCheck.Length(SectionName, "memory", reader.ReadBytes(32), 32);
        byte outputPort = reader.ReadByte();
        byte output = reader.ReadByte();
        byte status = reader.ReadByte();
        byte pending = reader.ReadByte();
        bool breakPrefix = reader.ReadBool();
        if (reader.ReadBool() != (_keyboard is not null) || reader.ReadBool() != (_aux is not null))
            throw new InvalidDataException($"section {SectionName}: the saved machine has other devices at its PS/2 ports than this one");
        Action? adoptKeyboard = _keyboard?.ReadState(reader, version);
        Action? adoptAux = _aux?.ReadState(reader, version);
        adoptKeyboard?.Invoke();
        adoptAux?.Invoke();
        memory.CopyTo(_memory, 0);
        (_outputPort, _output, _status, _pendingCommand, _breakPrefix) = (outputPort, output, status, pending, breakPrefix);
        _a20.Set((_outputPort & A20Open) != 0);
        UpdateLines();
    }

    private void PowerOn()
    {
        Array.Clear(_memory);
        _memory[0] = SystemFlag | Translate | AuxOff;
        _outputPort = 0xCC | ResetHigh | A20Open;
        _output = 0;
        _status = SystemFlag | NotInhibited;
        _pendingCommand = 0;
        _breakPrefix = false;
    }

    private byte Status() => _status;

    private byte ReadData()
    {
        byte value = _output;
        _status &= unchecked((byte)~(OutputFull | AuxFull | TimedOut));
        UpdateLines();
        Poll();
        return value;
    }

    private void WriteCommand(byte command)
    {
        _status |= CommandLast;
        _pendingCommand = 0;
        switch (command)
        {
            case >= 0x20 and <= 0x3F:
                Put(_memory[command - 0x20], 0);
                break;
            case >= 0x60 and <= 0x7F or 0xD1 or 0xD2 or 0xD3 or 0xD4:
                _pendingCommand = command;
                break;
            case 0xA4:
                // No password is loaded.
                Put(0xF1, 0);
                break;
            case 0xA7:
                SetConfiguration((byte)(Configuration | AuxOff));
                break;
            case 0xA8:
                SetConfiguration((byte)(Configuration & ~AuxOff));
                break;
            case 0xA9:
                Put(0x00, 0);
                break;
            case 0xAA:
                _status |= SystemFlag;
                SetConfiguration((byte)(Configuration | SystemFlag));
                Put(0x55, 0);
                break;
            case 0xAB:
                Put(0x00, 0);
                break;
            case 0xAD:
                SetConfiguration((byte)(Configuration | KeyboardOff));
                break;
            case 0xAE:
                SetConfiguration((byte)(Configuration & ~KeyboardOff));
                break;
            case 0xC0:
                // Input port: not locked, colour display, no manufacturing jumper.
                Put(0xB0, 0);
                break;
            case 0xD0:
                Put(OutputPort(), 0);
                break;
            case 0xDD:
                _a20.Set(false);
                break;
            case 0xDF:
                _a20.Set(true);
                break;
            case 0xE0:
                // Test inputs: keyboard clock and data are high when idle.
                Put(0x03, 0);
                break;
            case >= 0xF0:
                // A 0 bit pulses its line low for 6 microseconds; bit 0 is the CPUs' reset.
                if ((command & ResetHigh) == 0)
                    _reset();
                break;
        }
    }

    private void WriteData(byte value)
    {
        byte command = _pendingCommand;
        _pendingCommand = 0;
        _status &= unchecked((byte)~CommandLast);
        switch (command)
        {
            case 0x60:
                SetConfiguration(value);
                break;
            case > 0x60 and <= 0x7F:
                _memory[command - 0x60] = value;
                break;
            case 0xD1:
                WriteOutputPort(value);
                break;
            case 0xD2:
                PutKeyboard(value);
                break;
            case 0xD3:
                Put(value, AuxFull);
                break;
            case 0xD4:
                SendTo(_aux, value, AuxFull);
                break;
            default:
                // Writing to the keyboard enables its clock.
                _memory[0] &= unchecked((byte)~KeyboardOff);
                SendTo(_keyboard, value, 0);
                break;
        }
    }

    private void SendTo(IPs2Device? device, byte value, byte flag)
    {
        if (device is null)
        {
            Put(0xFE, (byte)(flag | TimedOut));
            return;
        }

        device.Write(value);
        Poll();
    }

    private void SetConfiguration(byte value)
    {
        _memory[0] = value;
        UpdateLines();
        Poll();
    }

    private byte OutputPort()
    {
        int interrupts = (_status & OutputFull) == 0 ? 0 : (_status & AuxFull) != 0 ? 0x20 : 0x10;
        return (byte)(WithGate(_outputPort) & 0xCF | interrupts);
    }

    private byte WithGate(byte value) => (byte)((value & ~A20Open) | (_a20.IsOpen ? A20Open : 0));

    private void WriteOutputPort(byte value)
    {
        _outputPort = (byte)(value & 0xCF | ResetHigh);
        _a20.Set((value & A20Open) != 0);
        if ((value & ResetHigh) == 0)
            _reset();
    }

    private void PutKeyboard(byte value)
    {
        if ((Configuration & Translate) != 0)
        {
            if (value == 0xF0)
            {
                _breakPrefix = true;
                Poll();
                return;
            }

            value = (byte)(ScanCodeTranslation.ToSet1(value) | (_breakPrefix ? 0x80 : 0));
            _breakPrefix = false;
        }

        Put(value, 0);
    }

    private void Put(byte value, byte flags)
    {
        _output = value;
        _status = (byte)((_status & ~(AuxFull | TimedOut)) | OutputFull | flags);
        UpdateLines();
    }

    private void UpdateLines()
    {
        bool full = (_status & OutputFull) != 0;
        bool aux = (_status & AuxFull) != 0;
        _keyboardLine.Set(full && !aux && (Configuration & KeyboardInterrupt) != 0);
        _auxLine.Set(full && aux && (Configuration & AuxInterrupt) != 0);
    }
}
