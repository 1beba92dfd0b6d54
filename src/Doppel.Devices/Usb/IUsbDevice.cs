using Doppel.Machine.State;

namespace Doppel.Devices.Usb;

/// <summary>
/// A full-speed device at a port of a host controller, which speaks to it by transactions. No packet is lost between them, so
/// that the data toggle isn't looked at. The machine's I/O lock guards it.
/// </summary>
public interface IUsbDevice
{
    /// <summary>The address that it answers to: 0 after a reset of the bus, else 1 to 127.</summary>
    int Address { get; }

    /// <summary>True when it has something to say and may wake the host (USB 2.0, 10.2.7).</summary>
    bool WantsToWake { get; }

    /// <summary>Raised when <see cref="WantsToWake"/> may have become true.</summary>
    event Action? Changed;

    /// <summary>True while its port, or the bus, is suspended. Set by the host controller.</summary>
    bool IsSuspended { get; set; }

    /// <summary>The host controller resets the bus: back to address 0, without a configuration.</summary>
    void ResetBus();

    /// <summary>A SETUP or OUT transaction.</summary>
    /// <param name="endpoint">Number of the endpoint, 0 to 15.</param>
    /// <param name="isSetup">True for SETUP.</param>
    /// <param name="data">The packet.</param>
    UsbHandshake Receive(int endpoint, bool isSetup, ReadOnlySpan<byte> data);

    /// <summary>An IN transaction.</summary>
    /// <param name="endpoint">Number of the endpoint, 0 to 15.</param>
    /// <param name="packet">The packet if the answer is <see cref="UsbHandshake.Ack"/>; it may be longer than the host expects.</param>
    UsbHandshake Send(int endpoint, out ReadOnlySpan<byte> packet);

    /// <summary>Writes its state into the host controller's section.</summary>
    void Save(StateWriter writer);

    /// <summary>Reads and checks what <see cref="Save"/> wrote; calling the result takes it over.</summary>
    /// <param name="reader">The section.</param>
    /// <param name="section">Its name, for errors.</param>
    /// <exception cref="InvalidDataException">A value is out of range.</exception>
    Action ReadState(StateReader reader, string section);
}
