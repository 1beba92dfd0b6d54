using Doppel.Machine.Bus;

namespace Doppel.Devices.Pci;

/// <summary>What a base address register maps (PCI 3.0, 6.2.5.1).</summary>
/// <param name="Index">First register, 0 to 5; a 64-bit one takes the next as well.</param>
/// <param name="Size">Bytes, a power of two; at least 4 for ports, 16 for memory.</param>
/// <param name="Region">What answers there.</param>
/// <param name="IsPort">True for I/O ports.</param>
/// <param name="Is64Bit">True for memory anywhere in 64 bits.</param>
/// <param name="IsPrefetchable">True for memory without side effects on reads.</param>
public sealed record PciBar(int Index, ulong Size, IIoRegion Region, bool IsPort = false, bool Is64Bit = false, bool IsPrefetchable = false)
{
    /// <summary>The index of an expansion ROM's register (offset 30h), whose bit 0 turns it on.</summary>
    internal const int RomIndex = 8;

    /// <summary>True for an expansion ROM.</summary>
    public bool IsRom => Index == RomIndex;

    /// <summary>Offset of the register in configuration space.</summary>
    public int Offset => PciConfigSpace.FirstBar + (4 * Index);

    /// <summary>The type bits that read back in the register.</summary>
    public uint TypeBits => IsPort ? 1u : (Is64Bit ? 4u : 0u) | (IsPrefetchable ? 8u : 0u);
}
