using Doppel.Devices.Input;
using Doppel.Machine.State;

namespace Doppel.Devices.Virtio;

/// <summary>
/// A tablet as a virtio input device: it tells where on the screen the pointer is, with five buttons and a wheel. Movements
/// that the driver has no buffers for become one; a button that goes down and up is told each time, while there is room.
/// </summary>
public sealed class VirtioTablet : VirtioInput, IPointerDevice
{
    /// <summary>PCI class: input device, other.</summary>
    public const uint PciClass = 0x098000;

    private const int MostWaiting = 64, WheelLimit = 127;
    private const ushort Horizontal = 0, Vertical = 1, Wheel = 8, FirstButton = 0x110;
    private const ushort IsPointer = 0;

    // From the lowest bit of PointerButtons: left, right, middle, side, extra are in evdev's order, too.
    private const int ButtonCount = 5;

    private static readonly InputIdentity Tablet = new(
        "Doppel Virtio Tablet",
        "tablet0",
        3,
        [IsPointer],
        new Dictionary<InputEventType, IReadOnlyList<ushort>>
        {
            [InputEventType.Key] = [.. Enumerable.Range(FirstButton, ButtonCount).Select(code => (ushort)code)],
            [InputEventType.Relative] = [Wheel],
            [InputEventType.Absolute] = [Horizontal, Vertical],
        });

    private readonly List<Place> _waiting = [];
    private Place _sent;

    /// <summary>Creates the device.</summary>
    /// <param name="name">Name of its saved section, for example "virtio-tablet0".</param>
    /// <param name="platform">What it is given of the machine.</param>
    public VirtioTablet(string name, DevicePlatform platform)
        : base(name, Tablet, platform)
    {
    }

    private readonly record struct Place(ushort X, ushort Y, sbyte Wheel, byte Buttons);

    /// <inheritdoc/>
    public bool IsAbsolute => true;

    /// <inheritdoc/>
    public void Move(PointerChange change)
    {
        if (!IsReady)
            return;
        int wheel = Math.Clamp(-change.Wheel, -WheelLimit, WheelLimit);
        var place = new Place((ushort)Math.Clamp(change.X, 0, GuestInput.Range), (ushort)Math.Clamp(change.Y, 0, GuestInput.Range), (sbyte)wheel, (byte)((int)change.Buttons & 0x1F));
        if (_waiting.Count > 0 && (_waiting[^1].Buttons == place.Buttons || _waiting.Count == MostWaiting))
            _waiting[^1] = place with { Wheel = (sbyte)Math.Clamp(_waiting[^1].Wheel + wheel, -WheelLimit, WheelLimit) };
        else
            _waiting.Add(place);
        Send();
    }

    private protected override bool HasUpdate
    {
        get
        {
            // One that says nothing new has no events.
            while (_waiting.Count > 0 && _waiting[0] == _sent)
                _waiting.RemoveAt(0);
            return _waiting.Count > 0;
        }
    }

    private protected override void NextUpdate(ICollection<InputEvent> events)
    {
        Place next = _waiting[0];
        _waiting.RemoveAt(0);
        if (next.X != _sent.X)
            events.Add(new InputEvent(InputEventType.Absolute, Horizontal, next.X));
        if (next.Y != _sent.Y)
            events.Add(new InputEvent(InputEventType.Absolute, Vertical, next.Y));
        for (int button = 0; button < ButtonCount; button++)
        {
            if (((next.Buttons ^ _sent.Buttons) >> button & 1) != 0)
                events.Add(new InputEvent(InputEventType.Key, (ushort)(FirstButton + button), (next.Buttons >> button) & 1));
        }

        if (next.Wheel != 0)
            events.Add(new InputEvent(InputEventType.Relative, Wheel, next.Wheel));
        _sent = next with { Wheel = 0 };
    }

    private protected override void ResetInput()
    {
        _waiting.Clear();
        _sent = default;
    }

    private protected override void SaveInput(StateWriter writer)
    {
        writer.Write((byte)_waiting.Count);
        foreach (Place place in (IEnumerable<Place>)[.. _waiting, _sent])
        {
            writer.Write(place.X);
            writer.Write(place.Y);
            writer.Write((byte)place.Wheel);
            writer.Write(place.Buttons);
        }
    }

    private protected override Action ReadInput(StateReader reader)
    {
        int count = (int)StateCheck.Range(Name, "movements", reader.ReadByte(), 0, MostWaiting);
        var places = new Place[count + 1];
        for (int i = 0; i <= count; i++)
        {
            ushort x = (ushort)StateCheck.Range(Name, "column", reader.ReadUInt16(), 0, GuestInput.Range);
            ushort y = (ushort)StateCheck.Range(Name, "row", reader.ReadUInt16(), 0, GuestInput.Range);
            places[i] = new Place(x, y, (sbyte)reader.ReadByte(), (byte)StateCheck.Range(Name, "buttons", reader.ReadByte(), 0, 0x1F));
        }

        return () =>
        {
            _waiting.Clear();
            _waiting.AddRange(places.AsSpan(0, count));
            _sent = places[count];
        };
    }
}
