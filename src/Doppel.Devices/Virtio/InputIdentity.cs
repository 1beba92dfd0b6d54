namespace Doppel.Devices.Virtio;

/// <summary>What a virtio input device tells of itself (virtio 1.2, 5.8.4).</summary>
/// <param name="Label">Its name: at most 127 bytes.</param>
/// <param name="Serial">Its serial number.</param>
/// <param name="Product">Product number; with <see cref="Vendor"/> those of QEMU's devices, which guests know.</param>
/// <param name="Properties">Properties as evdev has them.</param>
/// <param name="Codes">The codes of each type that it sends or takes.</param>
internal sealed record InputIdentity(string Label, string Serial, ushort Product, IReadOnlyList<ushort> Properties, IReadOnlyDictionary<InputEventType, IReadOnlyList<ushort>> Codes)
{
    /// <summary>The bus of devices that hang on none (evdev's BUS_VIRTUAL).</summary>
    internal const ushort VirtualBus = 6;

    internal const ushort Vendor = 0x0627;

    internal const ushort Version = 1;
}
