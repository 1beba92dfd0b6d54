using Doppel.Devices.Input;
using Doppel.Machine.State;

namespace Doppel.Devices.Virtio;

/// <summary>A keyboard with three indicators as a virtio input device. Its driver repeats held keys by itself.</summary>
public sealed class VirtioKeyboard : VirtioInput, IKeyboardDevice
{
    /// <summary>PCI class: keyboard.</summary>
    public const uint PciClass = 0x090000;

    private const int MostWaiting = 1024, KeyCount = 256;
    private const ushort NumLock = 0, CapsLock = 1, ScrollLock = 2;

    private static readonly InputIdentity Keyboard = new(
        "Doppel Virtio Keyboard",
        "keyboard0",
        1,
        [],
        new Dictionary<InputEventType, IReadOnlyList<ushort>>
        {
            [InputEventType.Key] = [.. EventKeyCodes.All],
            [InputEventType.Repetition] = [0, 1],
            [InputEventType.Led] = [NumLock, CapsLock, ScrollLock],
        });

    private readonly Queue<(KeyCode Key, bool IsDown)> _waiting = [];
    private readonly SortedSet<byte> _down = [];

    /// <summary>Creates the device.</summary>
    /// <param name="name">Name of its saved section, for example "virtio-keyboard0".</param>
    /// <param name="platform">What it is given of the machine.</param>
    public VirtioKeyboard(string name, DevicePlatform platform)
        : base(name, Keyboard, platform)
    {
    }

    /// <summary>The indicators: bit 0 scroll lock, 1 num lock, 2 caps lock.</summary>
    public byte Leds { get; private set; }

    /// <inheritdoc/>
    public void SetKey(KeyCode key, bool isDown)
    {
        if (!IsReady || EventKeyCodes.Find(key) is null)
            return;
        // A key that went down always comes up again, however much waits: a guest would repeat it for ever.
        if (isDown ? _waiting.Count >= MostWaiting || !_down.Add(key.Number) : !_down.Remove(key.Number))
            return;
        _waiting.Enqueue((key, isDown));
        Send();
    }

    private protected override bool HasUpdate => _waiting.Count > 0;

    private protected override void NextUpdate(ICollection<InputEvent> events)
    {
        (KeyCode key, bool isDown) = _waiting.Dequeue();
        events.Add(new InputEvent(InputEventType.Key, EventKeyCodes.Find(key)!.Value, isDown ? 1 : 0));
    }

    private protected override void SetStatus(InputEvent status)
    {
        int bit = (status.Type, status.Code) switch
        {
            (InputEventType.Led, ScrollLock) => 1,
            (InputEventType.Led, NumLock) => 2,
            (InputEventType.Led, CapsLock) => 4,
            _ => 0,
        };
        Leds = (byte)(status.Value != 0 ? Leds | bit : Leds & ~bit);
    }

    private protected override void ResetInput()
    {
        _waiting.Clear();
        _down.Clear();
        Leds = 0;
    }

    private protected override void SaveInput(StateWriter writer)
    {
        writer.Write(Leds);
        writer.Write([.. _down]);
        writer.Write(_waiting.Count);
        foreach ((KeyCode key, bool isDown) in _waiting)
        {
            writer.Write(key.Number);
            writer.Write(isDown);
        }
    }

    private protected override Action ReadInput(StateReader reader)
    {
        byte leds = (byte)StateCheck.Range(Name, "indicators", reader.ReadByte(), 0, 7);
        byte[] down = reader.ReadBytes(KeyCount);
        var waiting = new (KeyCode Key, bool IsDown)[StateCheck.Range(Name, "keys", reader.ReadInt32(), 0, MostWaiting + KeyCount)];
        for (int i = 0; i < waiting.Length; i++)
        {
            waiting[i] = (new KeyCode(reader.ReadByte()), reader.ReadBool());
            if (EventKeyCodes.Find(waiting[i].Key) is null)
                throw new InvalidDataException($"section {Name}: a key has the number 0x{waiting[i].Key.Number:x2}, which no key has");
        }

        return () =>
        {
            Leds = leds;
            _down.Clear();
            _down.UnionWith(down);
            _waiting.Clear();
            foreach ((KeyCode, bool) next in waiting)
                _waiting.Enqueue(next);
        };
    }
}
