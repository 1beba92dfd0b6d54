namespace Doppel.Devices.Input;

/// <summary>
/// A machine's keyboard and pointer for those who steer it. It outlives the devices that a machine has between its resets.
/// Any thread; nothing waits for the guest.
/// </summary>
public sealed class GuestInput
{
    /// <summary>Coordinates of absolute pointers go from 0 to this.</summary>
    public const int Range = 32767;

    private readonly Lock _lock = new();
    private readonly List<IKeyboardDevice> _keyboards = [];
    private readonly List<IPointerDevice> _pointers = [];
    private readonly HashSet<KeyCode> _down = [];
    private Lock _ioLock = new();
    private int _lastX;
    private int _lastY;

    /// <summary>True when the pointer is told where it is, not how it moves.</summary>
    public bool IsAbsolute
    {
        get
        {
            lock (_lock)
            {
                lock (_ioLock)
                    return Pointer() is { IsAbsolute: true };
            }
        }
    }

    /// <summary>Adds a device. Of several the last one that its guest listens to gets the input.</summary>
    /// <param name="device">The device: an <see cref="IKeyboardDevice"/>, an <see cref="IPointerDevice"/> or both.</param>
    /// <param name="ioLock">Its machine's I/O lock.</param>
    /// <returns>Ends it; afterwards the device isn't used any more.</returns>
    public IDisposable Attach(object device, Lock ioLock)
    {
        lock (_lock)
        {
            _ioLock = ioLock;
            if (device is IKeyboardDevice keyboard)
                _keyboards.Add(keyboard);
            if (device is IPointerDevice pointer)
                _pointers.Add(pointer);
            _down.Clear();
        }

        return new Attachment(this, device);
    }

    /// <summary>A key goes down or up.</summary>
    public void SetKey(KeyCode key, bool isDown)
    {
        lock (_lock)
        {
            if (isDown ? !_down.Add(key) : !_down.Remove(key))
                return;
            lock (_ioLock)
                (_keyboards.LastOrDefault(keyboard => keyboard.IsReady) ?? _keyboards.FirstOrDefault())?.SetKey(key, isDown);
        }
    }

    /// <summary>Lets go of all keys that are held, as when the one who holds them is gone.</summary>
    public void ReleaseKeys()
    {
        KeyCode[] held;
        lock (_lock)
            held = [.. _down];
        foreach (KeyCode key in held)
            SetKey(key, isDown: false);
    }

    /// <summary>The pointer is at a pixel of the screen.</summary>
    /// <param name="x">Column.</param>
    /// <param name="y">Row.</param>
    /// <param name="width">The screen's columns, above 0.</param>
    /// <param name="height">The screen's rows, above 0.</param>
    /// <param name="wheel">Steps of the wheel, down is positive.</param>
    /// <param name="buttons">The buttons that are held.</param>
    public void PointTo(int x, int y, int width, int height, int wheel, PointerButtons buttons)
    {
        x = Math.Clamp(x, 0, width - 1);
        y = Math.Clamp(y, 0, height - 1);
        lock (_lock)
        {
            var change = new PointerChange(Scale(x, width), Scale(y, height), x - _lastX, y - _lastY, wheel, buttons);
            (_lastX, _lastY) = (x, y);
            lock (_ioLock)
                Pointer()?.Move(change);
        }
    }

    /// <summary>The pointer moves by so many pixels; for relative devices.</summary>
    public void MoveBy(int x, int y, int wheel, PointerButtons buttons)
    {
        lock (_lock)
        {
            lock (_ioLock)
                Pointer()?.Move(new PointerChange(_lastX, _lastY, x, y, wheel, buttons));
        }
    }

    private static int Scale(int value, int size) => size <= 1 ? 0 : (int)((long)value * Range / (size - 1));

    private IPointerDevice? Pointer() => _pointers.LastOrDefault(pointer => pointer.IsReady);

    private sealed class Attachment(GuestInput owner, object device) : IDisposable
    {
        public void Dispose()
        {
            lock (owner._lock)
            {
                _ = owner._keyboards.Remove((device as IKeyboardDevice)!);
                _ = owner._pointers.Remove((device as IPointerDevice)!);
            }
        }
    }
}
