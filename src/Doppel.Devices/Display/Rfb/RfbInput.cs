using Doppel.Devices.Input;

namespace Doppel.Devices.Display.Rfb;

/// <summary>Makes of a client's key and pointer events what a PC's keyboard and mouse do.</summary>
internal sealed class RfbInput(GuestInput input)
{
    private readonly Dictionary<uint, (KeyCode Key, bool WithShift)> _held = [];
    private readonly HashSet<KeyCode> _keys = [];
    private byte _buttons;

    /// <summary>Whether the guest's pointer is told where it is.</summary>
    internal bool? IsAbsolute => input.IsAbsolute;

    /// <summary>A key, by its symbol and, from a client that knows it, by its place on the keyboard.</summary>
    internal void Key(uint symbol, bool isDown, uint place = 0)
    {
        if (place is > 0 and <= 0xFF)
        {
            Set(new KeyCode((byte)place), isDown);
            return;
        }

        if (!isDown)
        {
            // A symbol may have changed with Shift since its key went down.
            if (_held.Remove(symbol, out (KeyCode Key, bool WithShift) held))
            {
                Set(held.Key, isDown: false);
                if (held.WithShift && !_held.Values.Any(other => other.WithShift))
                    Set(KeyCode.LeftShift, isDown: false);
            }

            return;
        }

        if (!KeySymbols.TryFind(symbol, out KeyCode key, out bool shift))
            return;
        bool adds = shift && !_keys.Contains(KeyCode.LeftShift) && !_keys.Contains(new KeyCode(0x36));
        if (adds)
            Set(KeyCode.LeftShift, isDown: true);
        _held[symbol] = (key, adds);
        Set(key, isDown: true);
    }

    /// <summary>The pointer: buttons 1 to 3, the wheel as buttons 4 and 5, and 8 for back.</summary>
    internal void Point(byte buttons, int x, int y, int width, int height, bool isRelative)
    {
        int pressed = buttons & ~_buttons;
        int wheel = ((pressed & 16) != 0 ? 1 : 0) - ((pressed & 8) != 0 ? 1 : 0);
        _buttons = buttons;
        PointerButtons held = ((buttons & 1) != 0 ? PointerButtons.Left : 0) | ((buttons & 2) != 0 ? PointerButtons.Middle : 0)
            | ((buttons & 4) != 0 ? PointerButtons.Right : 0) | ((buttons & 128) != 0 ? PointerButtons.Back : 0);
        // Clients that were told so send how far it has moved, around 7FFFh.
        if (isRelative)
            input.MoveBy(x - 0x7FFF, y - 0x7FFF, wheel, held);
        else
            input.PointTo(x, y, width, height, wheel, held);
    }

    /// <summary>The client is gone: nothing stays pressed.</summary>
    internal void Release()
    {
        foreach (KeyCode key in _keys.ToArray())
            Set(key, isDown: false);
        _held.Clear();
    }

    private void Set(KeyCode key, bool isDown)
    {
        _ = isDown ? _keys.Add(key) : _keys.Remove(key);
        input.SetKey(key, isDown);
    }
}
