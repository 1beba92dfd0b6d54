namespace Doppel.Devices.Usb;

/// <summary>How a device answers a transaction (USB 2.0, 8.3.1 and 8.4.5).</summary>
public enum UsbHandshake
{
    /// <summary>Nobody answers.</summary>
    None,

    /// <summary>The data has been taken, or is there.</summary>
    Ack,

    /// <summary>Not now; the host asks again.</summary>
    Nak,

    /// <summary>The endpoint is halted, or doesn't know the request.</summary>
    Stall,
}
