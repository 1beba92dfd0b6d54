namespace Doppel.Devices.Virtio;

/// <summary>Device status (virtio 1.2, 2.1).</summary>
[Flags]
public enum VirtioStatus : byte
{
    /// <summary>After a reset.</summary>
    None = 0,

    /// <summary>The guest has found the device.</summary>
    Acknowledge = 1,

    /// <summary>The guest has a driver for it.</summary>
    Driver = 2,

    /// <summary>The driver is ready; the device may work.</summary>
    DriverOk = 4,

    /// <summary>Driver and device agree on the features.</summary>
    FeaturesOk = 8,

    /// <summary>The device can't go on until it is reset: the driver has broken a rule.</summary>
    NeedsReset = 64,

    /// <summary>The driver has given up.</summary>
    Failed = 128,
}
