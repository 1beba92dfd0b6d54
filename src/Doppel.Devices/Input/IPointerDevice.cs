namespace Doppel.Devices.Input;

/// <summary>A mouse or tablet of the machine. Called with the I/O lock held.</summary>
public interface IPointerDevice
{
    /// <summary>True when the guest listens to it.</summary>
    bool IsReady { get; }

    /// <summary>True when it tells where on the screen the pointer is, not how it moves.</summary>
    bool IsAbsolute { get; }

    /// <summary>The pointer moves, or its buttons change.</summary>
    /// <param name="change">What happens.</param>
    void Move(PointerChange change);
}

/// <summary>A movement of the pointer.</summary>
/// <param name="X">Column as a part of the screen's width: 0 to 32767; for absolute devices.</param>
/// <param name="Y">Row as a part of its height.</param>
/// <param name="DeltaX">Pixels to the right since the last movement; for relative devices.</param>
/// <param name="DeltaY">Pixels down.</param>
/// <param name="Wheel">Steps of the wheel, down is positive.</param>
/// <param name="Buttons">The buttons that are held.</param>
public readonly record struct PointerChange(int X, int Y, int DeltaX, int DeltaY, int Wheel, PointerButtons Buttons);

/// <summary>Buttons of a pointer.</summary>
[Flags]
public enum PointerButtons
{
    /// <summary>None.</summary>
    None = 0,

    /// <summary>The left one.</summary>
    Left = 1,

    /// <summary>The right one.</summary>
    Right = 2,

    /// <summary>The middle one, or the wheel.</summary>
    Middle = 4,

    /// <summary>The fourth, "back".</summary>
    Back = 8,

    /// <summary>The fifth, "forward".</summary>
    Forward = 16,
}
