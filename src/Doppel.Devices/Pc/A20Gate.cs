
namespace Doppel.Devices.Pc;

/// <summary>
/// Address line 20 of the PC: open while the keyboard controller or port 92h asks for it. Its state is that of the two
/// devices that drive it.
/// </summary>
/// <param name="changed">Told the line's level when it changes: false masks bit 20 of physical addresses.</param>
public sealed class A20Gate(Action<bool> changed)
{
    private bool _keyboardController = true;
    private bool _port92;

    /// <summary>Level of the line; open after power-on.</summary>
    public bool IsOpen => _keyboardController || _port92;

    /// <summary>The keyboard controller's wish.</summary>
    public void SetKeyboardController(bool open)
    {
        bool before = IsOpen;
        _keyboardController = open;
        if (IsOpen != before)
            changed(IsOpen);
    }

    /// <summary>Port 92h's wish.</summary>
    public void SetPort92(bool open)
    {
        bool before = IsOpen;
        _port92 = open;
        if (IsOpen != before)
            changed(IsOpen);
    }
}
