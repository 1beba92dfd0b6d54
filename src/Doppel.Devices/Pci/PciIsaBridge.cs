using Doppel.Machine.State;

namespace Doppel.Devices.Pci;

/// <summary>
/// PCI-to-ISA bridge with the identity of Intel's PIIX3 (8086:7000), by which guests learn that there is an ISA bus.
/// Its interrupt routing registers (60h to 63h) are stored only: the interrupt links lead to the IOAPIC.
/// </summary>
public sealed class PciIsaBridge : IPciFunction
{
    /// <summary>Where it usually sits: 00:01.0.</summary>
    public static readonly PciAddress DefaultAddress = new(0, 1, 0);

    private readonly PciConfigSpace _config = new(0x8086, 0x7000, 0x060100);

    /// <summary>Creates the bridge.</summary>
    /// <param name="hasFunctions">True when there are other functions in its slot, for which guests look by header type.</param>
    public PciIsaBridge(bool hasFunctions = false)
    {
        if (hasFunctions)
            _config.Define(0x0E, 1, 0x80);
        _config.Define(PciConfigSpace.Command, 2, 0x0007, writable: 0x0100);
        _config.Define(PciConfigSpace.Status, 2, 0x0200, clearable: 0xF900);
        _config.Define(0x3C, 1, 0);
        for (int offset = 0x60; offset <= 0x63; offset++)
            _config.Define(offset, 1, 0x80, writable: 0x8F);
    }

    /// <inheritdoc/>
    public string SectionName => "pci-isa";

    /// <inheritdoc/>
    public int SectionVersion => 1;

    /// <inheritdoc/>
    public uint ReadConfig(int offset, int size) => _config.Get(offset, size);

    /// <inheritdoc/>
    public void WriteConfig(int offset, int size, uint value) => _config.Write(offset, size, value);

    /// <inheritdoc/>
    public void Reset() => _config.Reset();

    /// <inheritdoc/>
    public void Save(StateWriter writer) => _config.Save(writer);

    /// <inheritdoc/>
    public void Restore(StateReader reader, int version)
    {
        StateCheck.Version(SectionName, version, SectionVersion);
        _config.Adopt(_config.ReadState(reader, SectionName));
    }
}
