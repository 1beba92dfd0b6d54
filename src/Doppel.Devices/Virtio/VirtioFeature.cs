namespace Doppel.Devices.Virtio;

/// <summary>Feature bits that are not of one kind of device (virtio 1.2, chapter 6).</summary>
public static class VirtioFeature
{
    /// <summary>A descriptor may lead to a table of descriptors.</summary>
    public const ulong IndirectDescriptors = 1UL << 28;

    /// <summary>Each side says at which index it wants to be told next.</summary>
    public const ulong EventIndex = 1UL << 29;

    /// <summary>The device is no legacy device. Offered always and required.</summary>
    public const ulong Version1 = 1UL << 32;

    /// <summary>Queues have the packed layout.</summary>
    public const ulong PackedRing = 1UL << 34;

    /// <summary>A queue can be reset alone.</summary>
    public const ulong RingReset = 1UL << 40;

    /// <summary>What every device here offers.</summary>
    public const ulong Common = IndirectDescriptors | EventIndex | Version1 | PackedRing | RingReset;
}
