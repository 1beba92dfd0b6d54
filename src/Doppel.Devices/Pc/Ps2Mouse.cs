using Doppel.Devices.Input;
using Doppel.Machine.State;

namespace Doppel.Devices.Pc;

/// <summary>
/// A PS/2 mouse (IBM PS/2 technical reference, "Mouse") that becomes an IntelliMouse with a wheel, and one with five buttons,
/// when a driver sets the sample rates that ask for it.
/// </summary>
public sealed class Ps2Mouse : IPs2Device, IPointerDevice
{
    private const int BufferSize = 16, Limit = 255;
    private const byte Acknowledge = 0xFA, Resend = 0xFE, Error = 0xFC;
    private const byte DefaultRate = 100, DefaultResolution = 2;
    private readonly Queue<byte> _output = new();
    private byte _command;
    private byte _rate;
    private byte _rateBefore;
    private byte _rateBeforeThat;
    private byte _resolution;
    private byte _lastSent;
    private byte _id;
    private bool _isDouble;
    private bool _isRemote;
    private bool _isEnabled;
    private bool _echoes;
    private int _x;
    private int _y;
    private int _wheel;
    private PointerButtons _buttons;
    private PointerButtons _sentButtons;

    /// <summary>Creates the mouse as it is after its self-test.</summary>
    public Ps2Mouse() => SetDefaults();

    /// <inheritdoc/>
    public Action? DataReady { get; set; }

    /// <inheritdoc/>
    public bool IsReady => _isEnabled;

    /// <inheritdoc/>
    public bool IsAbsolute => false;

    /// <summary>0 for a mouse, 3 with a wheel, 4 with five buttons as well.</summary>
    public byte Identifier => _id;

    /// <summary>Reports in a second, as the driver has set it; a report is sent when the last one was read.</summary>
    public byte SampleRate => _rate;

    /// <summary>Resolution that the driver has set, 0 to 3 for 1 to 8 counts a millimetre.</summary>
    public byte Resolution => _resolution;

    private bool HasMoved => _x != 0 || _y != 0 || _wheel != 0 || _buttons != _sentButtons;

    /// <inheritdoc/>
    public void Move(PointerChange change)
    {
        const int Farthest = 1 << 20;
        _x = Math.Clamp(_x + Math.Clamp(change.DeltaX, -Farthest, Farthest), -Farthest, Farthest);
        // The mouse counts upwards.
        _y = Math.Clamp(_y - Math.Clamp(change.DeltaY, -Farthest, Farthest), -Farthest, Farthest);
        _wheel = Math.Clamp(_wheel + Math.Clamp(change.Wheel, -Limit, Limit), -Limit, Limit);
        if (change.Buttons != _buttons)
        {
            // A click that is over before it was read must be seen: what was before goes out first.
            if (_buttons != _sentButtons && !_isRemote && _isEnabled && _output.Count + 4 <= BufferSize)
                Report();
            _buttons = change.Buttons;
        }

        Stream();
        DataReady?.Invoke();
    }

    /// <inheritdoc/>
    public bool TryRead(out byte value)
    {
        bool found = _output.TryDequeue(out value);
        if (found && value != Resend)
            _lastSent = value;
        if (_output.Count == 0)
            Stream();
        return found;
    }

    /// <inheritdoc/>
    public void Reset()
    {
        _output.Clear();
        SetDefaults();
        _id = 0;
        _echoes = false;
        _lastSent = 0;
    }

    /// <inheritdoc/>
    public void Write(byte value)
    {
        // A new byte ends a report or an answer that wasn't read.
        _output.Clear();
        if (_echoes && value is not (0xEC or 0xFF))
        {
            _output.Enqueue(value);
            return;
        }

        byte command = _command;
        _command = 0;
        switch (command)
        {
            case 0xE8:
                if (value > 3)
                {
                    _output.Enqueue(Error);
                    return;
                }

                _resolution = value;
                _output.Enqueue(Acknowledge);
                return;
            case 0xF3:
                if (value is not (10 or 20 or 40 or 60 or 80 or 100 or 200))
                {
                    _output.Enqueue(Error);
                    return;
                }

                SetRate(value);
                _output.Enqueue(Acknowledge);
                return;
        }

        WriteCommand(value);
    }

    /// <inheritdoc/>
    public void Save(StateWriter writer)
    {
        ArgumentNullException.ThrowIfNull(writer);
        writer.Write(_output.ToArray().AsSpan());
        foreach (byte value in (ReadOnlySpan<byte>)[_command, _rate, _rateBefore, _rateBeforeThat, _resolution, _lastSent, _id, (byte)_buttons, (byte)_sentButtons])
            writer.Write(value);
        writer.Write(_isDouble);
        writer.Write(_isRemote);
        writer.Write(_isEnabled);
        writer.Write(_echoes);
        writer.Write(_x);
        writer.Write(_y);
        writer.Write(_wheel);
    }

    /// <inheritdoc/>
    public Action ReadState(StateReader reader, int version)
    {
        ArgumentNullException.ThrowIfNull(reader);
        const int Farthest = 1 << 20;
        byte[] output = reader.ReadBytes(BufferSize);
        byte command = reader.ReadByte(), rate = reader.ReadByte(), before = reader.ReadByte(), beforeThat = reader.ReadByte();
        byte resolution = (byte)StateCheck.Range("mouse", "resolution", reader.ReadByte(), 0, 3);
        byte last = reader.ReadByte();
        byte id = reader.ReadByte();
        if (id is not (0 or 3 or 4))
            throw new InvalidDataException($"section i8042: the mouse's identifier is {id}; 0, 3 or 4 would be right");
        byte buttons = (byte)StateCheck.Range("mouse", "buttons", reader.ReadByte(), 0, 31), sent = (byte)StateCheck.Range("mouse", "buttons", reader.ReadByte(), 0, 31);
        bool isDouble = reader.ReadBool(), isRemote = reader.ReadBool(), isEnabled = reader.ReadBool(), echoes = reader.ReadBool();
        int x = (int)StateCheck.Range("mouse", "movement", reader.ReadInt32(), -Farthest, Farthest);
        int y = (int)StateCheck.Range("mouse", "movement", reader.ReadInt32(), -Farthest, Farthest);
        int wheel = (int)StateCheck.Range("mouse", "wheel", reader.ReadInt32(), -Limit, Limit);
        return () =>
        {
            _output.Clear();
            foreach (byte value in output)
                _output.Enqueue(value);
            (_command, _rate, _rateBefore, _rateBeforeThat, _resolution, _lastSent, _id) = (command, rate, before, beforeThat, resolution, last, id);
            (_isDouble, _isRemote, _isEnabled, _echoes) = (isDouble, isRemote, isEnabled, echoes);
            (_x, _y, _wheel, _buttons, _sentButtons) = (x, y, wheel, (PointerButtons)buttons, (PointerButtons)sent);
        };
    }

    private void WriteCommand(byte command)
    {
        switch (command)
        {
            case 0xE6 or 0xE7:
                _isDouble = command == 0xE7;
                break;
            case 0xE8 or 0xF3:
                _command = command;
                break;
            case 0xE9:
                _output.Enqueue(Acknowledge);
                _output.Enqueue((byte)((_isRemote ? 0x40 : 0) | (_isEnabled ? 0x20 : 0) | (_isDouble ? 0x10 : 0)
                    | ((_buttons & PointerButtons.Left) != 0 ? 4 : 0) | ((_buttons & PointerButtons.Middle) != 0 ? 2 : 0) | ((_buttons & PointerButtons.Right) != 0 ? 1 : 0)));
                _output.Enqueue(_resolution);
                _output.Enqueue(_rate);
                return;
            case 0xEA:
                _isRemote = false;
                break;
            case 0xEB:
                _output.Enqueue(Acknowledge);
                Report();
                return;
            case 0xEC:
                _echoes = false;
                break;
            case 0xEE:
                _echoes = true;
                break;
            case 0xF0:
                _isRemote = true;
                break;
            case 0xF2:
                _output.Enqueue(Acknowledge);
                _output.Enqueue(_id);
                return;
            case 0xF4:
                _isEnabled = true;
                ForgetMovement();
                break;
            case 0xF5:
                _isEnabled = false;
                break;
            case 0xF6:
                SetDefaults();
                break;
            case 0xFE:
                _output.Enqueue(_lastSent);
                return;
            case 0xFF:
                Reset();
                _output.Enqueue(Acknowledge);
                _output.Enqueue(0xAA);
                _output.Enqueue(0x00);
                return;
            default:
                _output.Enqueue(Resend);
                return;
        }

        _output.Enqueue(Acknowledge);
    }

    private void SetDefaults()
    {
        (_rate, _rateBefore, _rateBeforeThat) = (DefaultRate, 0, 0);
        _resolution = DefaultResolution;
        _isDouble = _isRemote = _isEnabled = false;
        _command = 0;
        ForgetMovement();
    }

    private void ForgetMovement() => (_x, _y, _wheel, _sentButtons) = (0, 0, 0, _buttons);

    // 200, 100, 80 asks for the wheel; 200, 200, 80 for five buttons.
    private void SetRate(byte rate)
    {
        (_rateBeforeThat, _rateBefore, _rate) = (_rateBefore, _rate, rate);
        if (_rateBeforeThat == 200 && rate == 80)
        {
            if (_rateBefore == 100 && _id == 0)
                _id = 3;
            else if (_rateBefore == 200)
                _id = 4;
        }
    }

    private void Stream()
    {
        if (_isEnabled && !_isRemote && !_echoes && _output.Count == 0 && _command == 0 && HasMoved)
            Report();
    }

    // What doesn't fit into one report is in the next.
    private void Report()
    {
        int x = Math.Clamp(_x, -Limit, Limit), y = Math.Clamp(_y, -Limit, Limit);
        int step = _id == 4 ? 7 : 127;
        int wheel = Math.Clamp(_wheel, -step, step);
        (_x, _y) = (_x - x, _y - y);
        _wheel = _id == 0 ? 0 : _wheel - wheel;
        _sentButtons = _buttons;
        if (_isDouble && !_isRemote)
            (x, y) = (Double(x), Double(y));
        _output.Enqueue((byte)(8 | ((int)_buttons & 7) | (x < 0 ? 0x10 : 0) | (y < 0 ? 0x20 : 0)));
        _output.Enqueue((byte)x);
        _output.Enqueue((byte)y);
        if (_id == 3)
            _output.Enqueue((byte)wheel);
        else if (_id == 4)
            _output.Enqueue((byte)((wheel & 15) | (((int)_buttons & 0x18) << 1)));
    }

    // Scaling 2:1: small movements get smaller, large ones larger.
    private static int Double(int value)
    {
        int size = Math.Abs(value);
        int scaled = size switch
        {
            <= 1 => size,
            2 => 1,
            3 => 3,
            4 => 6,
            5 => 9,
            _ => Math.Min(2 * size, Limit),
        };
        return Math.Sign(value) * scaled;
    }
}
