using Doppel.Machine.State;

namespace Doppel.Devices.Pc;

/// <summary>A keyboard or mouse at a port of the 8042. Called with the machine's I/O lock held.</summary>
public interface IPs2Device
{
    /// <summary>Called by the device when it has something to send; the controller sets it.</summary>
    Action? DataReady { get; set; }

    /// <summary>A byte from the controller: a command or its argument.</summary>
    void Write(byte value);

    /// <summary>Takes the next byte that the device wants to send; false when there is none.</summary>
    bool TryRead(out byte value);

    /// <summary>Power-on state, without a power-on message.</summary>
    void Reset();

    /// <summary>Writes the device's state into its controller's section.</summary>
    void Save(StateWriter writer);

    /// <summary>Reads and checks what <see cref="Save"/> wrote; calling the result takes it over.</summary>
    /// <param name="reader">Where it is read.</param>
    /// <param name="version">Version of the controller's section.</param>
    /// <exception cref="InvalidDataException">A value is out of range.</exception>
    Action ReadState(StateReader reader, int version);
}
