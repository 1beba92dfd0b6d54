namespace Doppel.Devices.Input;

/// <summary>A keyboard of the machine. Called with the I/O lock held.</summary>
public interface IKeyboardDevice
{
    /// <summary>True when the guest listens to it; several keyboards may be there, and the first that is ready gets the keys.</summary>
    bool IsReady { get; }

    /// <summary>A key goes down or up. A key that is down already and goes down stays so: the keyboard repeats by itself.</summary>
    void SetKey(KeyCode key, bool isDown);
}
