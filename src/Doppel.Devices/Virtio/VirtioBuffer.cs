namespace Doppel.Devices.Virtio;

/// <summary>One piece of a chain: guest-physical memory that has been checked to be RAM.</summary>
/// <param name="Address">Guest-physical address.</param>
/// <param name="Length">Bytes.</param>
public readonly record struct VirtioBuffer(ulong Address, uint Length);
