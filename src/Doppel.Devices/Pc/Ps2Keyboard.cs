using Doppel.Devices.Input;
using Doppel.Machine.State;
using Doppel.Machine.Time;

namespace Doppel.Devices.Pc;

/// <summary>
/// An MF2 keyboard (IBM PS/2 technical reference, "101/102-key keyboard"): three scan code sets, indicators, repetition of a
/// held key, and the commands. Keys that come faster than its guest reads wait in a queue of their own.
/// </summary>
public sealed class Ps2Keyboard : IPs2Device, IKeyboardDevice, IDisposable
{
    private const int BufferSize = 16, LongestSequence = 8, MaximumWaiting = 1024;
    private const byte Acknowledge = 0xFA, Resend = 0xFE, DefaultRate = 0x2B;
    private readonly Queue<byte> _answers = new();
    private readonly Queue<byte> _keys = new();
    private readonly Queue<(KeyCode Key, bool IsDown)> _waiting = new();
    private readonly SortedSet<byte> _held = [];
    private readonly KeyMode[] _modes = new KeyMode[256];
    private readonly IGuestClock? _clock;
    private readonly IGuestTimer? _timer;
    private byte _command;
    private byte _leds;
    private byte _scanCodeSet = 2;
    private byte _lastSent;
    private bool _enabled = true;
    private byte _rate = DefaultRate;
    private KeyCode? _repeated;

    /// <summary>Creates the keyboard as it is after its self-test.</summary>
    /// <param name="clock">Times the repetition of held keys; null for none.</param>
    public Ps2Keyboard(IGuestClock? clock = null)
    {
        _clock = clock;
        _timer = clock?.CreateTimer("ps2-keyboard", Repeat);
        SetDefaultModes();
    }

    /// <inheritdoc/>
    public Action? DataReady { get; set; }

    /// <summary>The indicators: bit 0 scroll lock, 1 num lock, 2 caps lock.</summary>
    public byte Leds => _leds;

    /// <summary>Scan code set in use, 1 to 3.</summary>
    public byte ScanCodeSet => _scanCodeSet;

    /// <inheritdoc/>
    public bool IsReady => _enabled;

    /// <summary>Nanoseconds until a held key repeats (command F3h, bits 6 and 5).</summary>
    internal long RepeatDelay => (((_rate >> 5) & 3) + 1) * 250_000_000L;

    /// <summary>Nanoseconds between repetitions (bits 4 to 0).</summary>
    internal long RepeatPeriod => (long)(8 + (_rate & 7)) * (1 << ((_rate >> 3) & 3)) * 4_170_000;

    /// <summary>
    /// Queues codes as they are; follow with <see cref="I8042.Poll"/>. False when the keyboard is off or its buffer of 16
    /// bytes cannot hold all of them: the key is lost.
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
    public void SetKey(KeyCode key, bool isDown)
    {
        if (!_enabled || _waiting.Count >= MaximumWaiting)
            return;
        _waiting.Enqueue((key, isDown));
        if (isDown && key != KeyCode.Pause)
        {
            _repeated = key;
            _timer?.Arm(_clock!.Now + RepeatDelay);
        }
        else if (_repeated == key)
        {
            StopRepeating();
        }

        Fill();
        DataReady?.Invoke();
    }

    /// <inheritdoc/>
    public bool TryRead(out byte value)
    {
        bool found = _answers.TryDequeue(out value) || _keys.TryDequeue(out value);
        if (found && value != Resend)
            _lastSent = value;
        Fill();
        return found;
    }

    /// <inheritdoc/>
    public void Reset()
    {
        _answers.Clear();
        SetDefaults();
        _held.Clear();
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
                _rate = value;
                _answers.Enqueue(Acknowledge);
                return;
            case >= 0xFB and <= 0xFD when value < 0x90:
                // Each code ends with an acknowledgement, and the list with any command.
                _modes[value] = command switch
                {
                    0xFB => KeyMode.Typematic,
                    0xFC => KeyMode.MakeBreak,
                    _ => KeyMode.Make,
                };
                _command = command;
                _answers.Enqueue(Acknowledge);
                return;
        }

        WriteCommand(value);
    }

    /// <inheritdoc/>
    public void Save(StateWriter writer)
    {
        ArgumentNullException.ThrowIfNull(writer);
        writer.Write(_answers.ToArray().AsSpan());
        writer.Write(_keys.ToArray().AsSpan());
        writer.Write(_command);
        writer.Write(_leds);
        writer.Write(_scanCodeSet);
        writer.Write(_lastSent);
        writer.Write(_enabled);
        writer.Write(_waiting.SelectMany(entry => new[] { entry.Key.Number, (byte)(entry.IsDown ? 1 : 0) }).ToArray().AsSpan());
        writer.Write(_held.ToArray().AsSpan());
        writer.Write(Array.ConvertAll(_modes, mode => (byte)mode).AsSpan());
        writer.Write(_rate);
        writer.Write(_repeated is not null);
        writer.Write(_repeated?.Number ?? 0);
        writer.Write(_timer?.Deadline ?? -1);
    }

    /// <inheritdoc/>
    public Action ReadState(StateReader reader, int version)
    {
        ArgumentNullException.ThrowIfNull(reader);
        byte[] answers = reader.ReadBytes(BufferSize);
        byte[] keys = reader.ReadBytes(BufferSize);
        byte command = reader.ReadByte();
        byte leds = (byte)StateCheck.Range("keyboard", "indicators", reader.ReadByte(), 0, 7);
        byte set = (byte)StateCheck.Range("keyboard", "scan code set", reader.ReadByte(), 1, 3);
        byte last = reader.ReadByte();
        bool enabled = reader.ReadBool();
        byte[] waiting = [], held = [], modes = [];
        byte rate = DefaultRate;
        KeyCode? repeated = null;
        long deadline = -1;
        if (version >= 2)
        {
            waiting = reader.ReadBytes(2 * MaximumWaiting);
            held = reader.ReadBytes(256);
            modes = StateCheck.Length("keyboard", "modes of keys", reader.ReadBytes(256), 256);
            if (modes.Any(mode => mode > (byte)KeyMode.Make))
                throw new InvalidDataException("section i8042: a mode of a key is unknown");
            rate = (byte)StateCheck.Range("keyboard", "rate of repetition", reader.ReadByte(), 0, 0x7F);
            bool repeats = reader.ReadBool();
            byte number = reader.ReadByte();
            repeated = repeats ? new KeyCode(number) : null;
            deadline = reader.ReadInt64();
        }

        return () =>
        {
            Refill(_answers, answers);
            Refill(_keys, keys);
            (_command, _leds, _scanCodeSet, _lastSent, _enabled) = (command, leds, set, last, enabled);
            _waiting.Clear();
            for (int i = 0; i + 1 < waiting.Length; i += 2)
                _waiting.Enqueue((new KeyCode(waiting[i]), waiting[i + 1] != 0));
            _held.Clear();
            _held.UnionWith(held);
            SetDefaultModes();
            for (int i = 0; i < modes.Length; i++)
                _modes[i] = (KeyMode)modes[i];
            _rate = rate;
            _repeated = repeated;
            if (repeated is not null && deadline >= 0)
                _timer?.Arm(deadline);
            else
                _timer?.Disarm();
        };
    }

    /// <inheritdoc/>
    public void Dispose() => _timer?.Dispose();

    private static void Refill(Queue<byte> queue, byte[] bytes)
    {
        queue.Clear();
        foreach (byte value in bytes)
            queue.Enqueue(value);
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
                ForgetKeys();
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
                Array.Fill(_modes, command switch
                {
                    0xF7 => KeyMode.Typematic,
                    0xF8 => KeyMode.MakeBreak,
                    0xF9 => KeyMode.Make,
                    _ => KeyMode.TypematicMakeBreak,
                });
                _answers.Enqueue(Acknowledge);
                break;
            case >= 0xFB and <= 0xFD:
                ForgetKeys();
                _command = command;
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
        ForgetKeys();
        _command = 0;
        _scanCodeSet = 2;
        _rate = DefaultRate;
        SetDefaultModes();
    }

    private void ForgetKeys()
    {
        _keys.Clear();
        _waiting.Clear();
        StopRepeating();
    }

    private void SetDefaultModes()
    {
        for (int code = 0; code < _modes.Length; code++)
            _modes[code] = Ps2KeyCodes.DefaultMode((byte)code);
    }

    private void StopRepeating()
    {
        _repeated = null;
        _timer?.Disarm();
    }

    // The guest that doesn't read gets no more of it: a keyboard has room for 16 bytes.
    private void Repeat()
    {
        if (_repeated is not KeyCode key)
            return;
        if (_waiting.Count == 0 && _keys.Count == 0 && _held.Contains(key.Number) && Sends(key, isDown: true, isRepeated: true))
        {
            Send(key, isDown: true);
            DataReady?.Invoke();
        }

        _timer!.Arm(_clock!.Now + RepeatPeriod);
    }

    private void Fill()
    {
        while (_keys.Count + LongestSequence <= BufferSize && _waiting.TryDequeue(out (KeyCode Key, bool IsDown) next))
        {
            if (next.IsDown)
                _ = _held.Add(next.Key.Number);
            else
                _ = _held.Remove(next.Key.Number);
            if (Sends(next.Key, next.IsDown, isRepeated: false))
                Send(next.Key, next.IsDown);
        }
    }

    private bool Sends(KeyCode key, bool isDown, bool isRepeated)
    {
        if (_scanCodeSet != 3)
            return true;
        KeyMode mode = _modes[Ps2KeyCodes.ToSet3(key)];
        if (isRepeated)
            return mode is KeyMode.Typematic or KeyMode.TypematicMakeBreak;
        return isDown || mode is KeyMode.MakeBreak or KeyMode.TypematicMakeBreak;
    }

    private void Send(KeyCode key, bool isDown)
    {
        bool ctrl = _held.Contains(0x1D) || _held.Contains(0x9D), alt = _held.Contains(0x38) || _held.Contains(0xB8);
        foreach (byte code in Ps2KeyCodes.Encode(key, isDown, _scanCodeSet, ctrl, alt))
            _keys.Enqueue(code);
    }
}
