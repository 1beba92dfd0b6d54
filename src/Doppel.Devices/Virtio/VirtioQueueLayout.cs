namespace Doppel.Devices.Virtio;

/// <summary>Where a driver has placed a queue.</summary>
/// <param name="Size">Number of descriptors.</param>
/// <param name="Descriptors">Guest-physical address of the descriptor area.</param>
/// <param name="Driver">Address of the driver area: available ring, or driver event suppression.</param>
/// <param name="Device">Address of the device area: used ring, or device event suppression.</param>
public readonly record struct VirtioQueueLayout(ushort Size, ulong Descriptors, ulong Driver, ulong Device);
