namespace Doppel.Devices.Pci;

/// <summary>Where a function sits.</summary>
/// <param name="Bus">Bus number, 0 to 255.</param>
/// <param name="Device">Slot, 0 to 31.</param>
/// <param name="Function">Function, 0 to 7.</param>
public readonly record struct PciAddress(byte Bus, byte Device, byte Function)
{
    /// <summary>The three numbers packed as the configuration mechanisms and MSI requester ids pack them.</summary>
    public ushort Packed => (ushort)((Bus << 8) | ((Device & 31) << 3) | (Function & 7));

    /// <summary>Unpacks <see cref="Packed"/>.</summary>
    public static PciAddress FromPacked(ushort packed) => new((byte)(packed >> 8), (byte)((packed >> 3) & 31), (byte)(packed & 7));

    /// <summary>For example "00:01.0".</summary>
    public override string ToString() => $"{Bus:x2}:{Device:x2}.{Function:x}";
}
