namespace Doppel.Devices.Input;

/// <summary>
/// A key of a PC's keyboard by its place, not by what is printed on it: its code in scan code set 1, with bit 7 set for those
/// that are sent with the prefix E0h. It is the number that QEMU's RFB key events carry.
/// </summary>
/// <param name="Number">The code.</param>
public readonly record struct KeyCode(byte Number)
{
    /// <summary>True for keys sent with the prefix E0h.</summary>
    public bool IsExtended => (Number & 0x80) != 0;

    /// <summary>The Pause key, which has a sequence of its own.</summary>
    public static readonly KeyCode Pause = new(0xC6);

    /// <summary>The Print Screen key, which has one too.</summary>
    public static readonly KeyCode PrintScreen = new(0xB7);

    /// <summary>The left Shift key.</summary>
    public static readonly KeyCode LeftShift = new(0x2A);
}
