using Doppel.Machine.State;

namespace Doppel.Devices.Pc;

/// <summary>
/// An MF2 keyboard (IBM PS/2 technical reference, "101/102-key keyboard"): answers the commands that drivers use to
/// find and set up a keyboard, and sends the scan codes it is given.
/// </summary>
public sealed class Ps2Keyboard : IPs2Device
{
    private const int BufferSize = 16;
    private const byte Acknowledge = 0xFA, Resend = 0xFE;
    private readonly Queue<byte> _answers = new();
    private readonly Queue<byte> _keys = new();
    private byte _command;
    private byte _leds;
    private byte _scanCodeSet = 2;
    private byte _lastSent;
    private bool _enabled = true;

    /// <summary>The indicators: bit 0 scroll lock, 1 num lock, 2 caps lock.</summary>
    public byte Leds => _leds;

    /// <summary>Scan code set in use, 1 to 3.</summary>
    public byte ScanCodeSet => _scanCodeSet;

    /// <summary>
    /// Queues the codes of a key press or release, in set 2; follow with <see cref="I8042.Poll"/>. False when the
    /// keyboard is off or its buffer of 16 bytes cannot hold all of them: the key is lost.
    /// </summary>
    public bool TrySend(ReadOnlySpan<byte> codes)
    {
        if (!_enabled || _keys.Count + codes.Length > BufferSize)
            return false;
        foreach (byte code in codes)
            _keys.Enqueue(code);
        return true;
    }

    /// <inheritdoc/>
    public bool TryRead(out byte value)
    {
        bool found = _answers.TryDequeue(out value) || _keys.TryDequeue(out value);
        if (found && value != Resend)
            _lastSent = value;
        return found;
    }

    /// <inheritdoc/>
    public void Reset()
    {
        _answers.Clear();
        SetDefaults();
        _leds = 0;
        _lastSent = 0;
        _enabled = true;
    }

    /// <inheritdoc/>
    public void Write(byte value)
    {
        byte command = _command;
        _command = 0;
        // A new byte ends whatever the keyboard was about to answer.
        _answers.Clear();
        switch (command)
        {
            case 0xED when value < 0x80:
                _leds = (byte)(value & 7);
                _answers.Enqueue(Acknowledge);
                return;
            case 0xF0 when value <= 3:
                _answers.Enqueue(Acknowledge);
                if (value == 0)
                    _answers.Enqueue(_scanCodeSet);
                else
                    _scanCodeSet = value;
                return;
            case 0xF3 when value < 0x80:
                _answers.Enqueue(Acknowledge);
                return;
        }

        WriteCommand(value);
    }

    /// <inheritdoc/>
    public void Save(StateWriter writer)
    {
        writer.Write(_answers.ToArray().AsSpan());
        writer.Write(_keys.ToArray().AsSpan());
        writer.Write(_command);
        writer.Write(_leds);
        writer.Write(_scanCodeSet);
        writer.Write(_lastSent);
        writer.Write(_enabled);
    }

    /// <inheritdoc/>
    public Action ReadState(StateReader reader)
    {
        byte[] answers = reader.ReadBytes(BufferSize);
        byte[] keys = reader.ReadBytes(BufferSize);
        byte command = reader.ReadByte();
        byte leds = (byte)StateCheck.Range("keyboard", "indicators", reader.ReadByte(), 0, 7);
        byte set = (byte)StateCheck.Range("keyboard", "scan code set", reader.ReadByte(), 1, 3);
        byte last = reader.ReadByte();
        bool enabled = reader.ReadBool();
        return () =>
        {
            _answers.Clear();
            _keys.Clear();
            foreach (byte answer in answers)
                _answers.Enqueue(answer);
            foreach (byte key in keys)
                _keys.Enqueue(key);
            (_command, _leds, _scanCodeSet, _lastSent, _enabled) = (command, leds, set, last, enabled);
        };
    }

    private void WriteCommand(byte command)
    {
        switch (command)
        {
            case 0xED or 0xF0 or 0xF3:
                _command = command;
                _answers.Enqueue(Acknowledge);
                break;
            case 0xEE:
                _answers.Enqueue(0xEE);
                break;
            case 0xF2:
                _answers.Enqueue(Acknowledge);
                _answers.Enqueue(0xAB);
                _answers.Enqueue(0x83);
                break;
            case 0xF4:
                _keys.Clear();
                _enabled = true;
                _answers.Enqueue(Acknowledge);
                break;
            case 0xF5:
                SetDefaults();
                _enabled = false;
                _answers.Enqueue(Acknowledge);
                break;
            case 0xF6:
                SetDefaults();
                _enabled = true;
                _answers.Enqueue(Acknowledge);
                break;
            case >= 0xF7 and <= 0xFA:
                _answers.Enqueue(Acknowledge);
                break;
            case 0xFE:
                _answers.Enqueue(_lastSent);
                break;
            case 0xFF:
                Reset();
                _answers.Enqueue(Acknowledge);
                _answers.Enqueue(0xAA);
                break;
            default:
                _answers.Enqueue(Resend);
                break;
        }
    }

    private void SetDefaults()
    {
        _keys.Clear();
        _command = 0;
        _scanCodeSet = 2;
    }
}
