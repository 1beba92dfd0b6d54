using Doppel.Machine.Bus;

namespace Doppel.Devices.Pci;

/// <summary>
/// The enhanced configuration access window (PCI Express Base Specification 3.0, 7.2.2): one mebibyte a bus, 4 KiB a
/// function. Stateless; an MCFG table announces where it is mapped.
/// </summary>
/// <param name="bus">The bus it shows.</param>
public sealed class PciEcam(PciBus bus) : IIoRegion
{
    /// <summary>Bytes of the window: bus 0 only.</summary>
    public const ulong Length = 1 << 20;

    /// <inheritdoc/>
    public string Name => "pci-ecam";

    /// <inheritdoc/>
    public ulong Read(ulong offset, int size)
    {
        if ((offset & 3) + (uint)size <= 4)
            return ReadPart(offset, size);
        ulong value = 0;
        for (int i = 0; i < size; i++)
            value |= ReadPart(offset + (uint)i, 1) << (8 * i);
        return value;
    }

    /// <inheritdoc/>
    public void Write(ulong offset, int size, ulong value)
    {
        if ((offset & 3) + (uint)size <= 4)
        {
            WritePart(offset, size, (uint)value);
            return;
        }

        for (int i = 0; i < size; i++)
            WritePart(offset + (uint)i, 1, (byte)(value >> (8 * i)));
    }

    private ulong ReadPart(ulong offset, int size) => offset < Length
        ? bus.ReadConfig(PciAddress.FromPacked((ushort)(offset >> 12)), (int)(offset & 0xFFF), size)
        : (1UL << (8 * size)) - 1;

    private void WritePart(ulong offset, int size, uint value)
    {
        if (offset < Length)
            bus.WriteConfig(PciAddress.FromPacked((ushort)(offset >> 12)), (int)(offset & 0xFFF), size, value);
    }
}
