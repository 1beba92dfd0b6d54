using Doppel.Devices.Chipset;
using Doppel.Machine.State;

namespace Doppel.Devices.Pci;

/// <summary>
/// PCI-to-ISA bridge with the identity of Intel's PIIX3 (8086:7000), by which guests learn that there is an ISA bus. Its
/// registers 60h to 63h route the PCI interrupt links, where the machine has a <see cref="PirqRouter"/>; elsewhere they are
/// stored only.
/// </summary>
public sealed class PciIsaBridge : IPciFunction
{
    /// <summary>Where it usually sits: 00:01.0.</summary>
    public static readonly PciAddress DefaultAddress = new(0, 1, 0);

    private readonly PciConfigSpace _config = new(0x8086, 0x7000, 0x060100);

    private readonly PirqRouter? _router;

    /// <summary>Creates the bridge.</summary>
    /// <param name="router">What its routing registers set; null for links that lead to fixed inputs.</param>
    /// <param name="hasFunctions">True when there are other functions in its slot, for which guests look by header type.</param>
    public PciIsaBridge(PirqRouter? router = null, bool hasFunctions = false)
    {
        _router = router;
        _config.Define(PciConfigSpace.Command, 2, 0x0007, writable: 0x0100);
        _config.Define(PciConfigSpace.Status, 2, 0x0200, clearable: 0xF900);
        _config.Define(0x3C, 1, 0);
        for (int offset = 0x60; offset <= 0x63; offset++)
            _config.Define(offset, 1, 0x80, writable: 0x8F);
        if (hasFunctions)
            _config.Define(0x0E, 1, 0x80);
        if (router is null)
            return;
        // X-bus chip select, ISA clock and refresh (data sheet 290550, 2.2.1 to 2.2.4): stored, as nothing hangs on them here.
        _config.Define(0x4C, 1, 0x4D, writable: 0xFF);
        _config.Define(0x4E, 2, 0x0003, writable: 0xFFFF);
        _config.Define(0x69, 1, 0x02, writable: 0xFE);
        _config.Define(0x6A, 2, 0x0000, writable: 0xFFFF);
        for (int offset = 0x70; offset <= 0x71; offset++)
            _config.Define(offset, 1, 0x80, writable: 0xFF);
        for (int offset = 0x76; offset <= 0x77; offset++)
            _config.Define(offset, 1, 0x0C, writable: 0xFF);
        _config.Define(0x78, 2, 0x0002, writable: 0xFFFF);
        _config.Define(0xA0, 1, 0x08, writable: 0xFF);
        _config.Define(0xA2, 2, 0, writable: 0xFFFF);
        _config.Define(0xA4, 4, 0, writable: 0xFFFFFFFF);
        _config.Define(0xA8, 1, 0x0F, writable: 0xFF);
        _config.Define(0xAA, 2, 0, writable: 0xFFFF);
        _config.Define(0xAC, 4, 0, writable: 0xFFFFFFFF);
    }

    /// <inheritdoc/>
    public string SectionName => "pci-isa";

    /// <inheritdoc/>
    public int SectionVersion => 1;

    /// <inheritdoc/>
    public uint ReadConfig(int offset, int size) => _config.Get(offset, size);

    /// <inheritdoc/>
    public void WriteConfig(int offset, int size, uint value)
    {
        _config.Write(offset, size, value);
        if (offset + size > 0x60 && offset < 0x64)
            Route();
    }

    /// <inheritdoc/>
    public void Reset()
    {
        _config.Reset();
        Route();
    }

    /// <inheritdoc/>
    public void Save(StateWriter writer) => _config.Save(writer);

    /// <inheritdoc/>
    public void Restore(StateReader reader, int version)
    {
        StateCheck.Version(SectionName, version, SectionVersion);
        _config.Adopt(_config.ReadState(reader, SectionName));
        Route();
    }

    private void Route()
    {
        // Bit 7 set: the link leads nowhere.
        for (int link = 0; link < PirqRouter.LinkCount; link++)
        {
            uint value = _config.Get(0x60 + link, 1);
            _router?.Route(link, (value & 0x80) != 0 ? -1 : (int)(value & 0xF));
        }
    }
}
