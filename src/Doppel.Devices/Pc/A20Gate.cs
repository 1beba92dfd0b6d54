namespace Doppel.Devices.Pc;

/// <summary>
/// Address line 20 of the PC: as the keyboard controller or port 92h said last. Systems close by either what the other has
/// opened, so both show one bit, and save it.
/// </summary>
/// <param name="changed">Told the line's level when it changes: false masks bit 20 of physical addresses.</param>
public sealed class A20Gate(Action<bool> changed)
{
    /// <summary>Level of the line; open after power-on.</summary>
    public bool IsOpen { get; private set; } = true;

    /// <summary>Opens or closes the gate.</summary>
    public void Set(bool open)
    {
        if (open == IsOpen)
            return;
        IsOpen = open;
        changed(open);
    }
}
