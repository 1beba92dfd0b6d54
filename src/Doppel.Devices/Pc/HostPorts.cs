using Doppel.Machine.State;

namespace Doppel.Devices.Pc;

/// <summary>
/// Ports that a PC has and that do nothing here: the diagnostic port 80h, which guests write to wait and firmware to
/// report progress, with the DMA page registers around it (81h to 8Fh) as plain storage, as the chipset has them.
/// </summary>
public sealed class HostPorts : IDevice
{
    private readonly byte[] _pages = new byte[16];
    private readonly IoRange[] _ports;

    /// <summary>Creates the ports.</summary>
    public HostPorts() =>
        _ports = [new IoRange(0x80, 16, new BytePorts("dma-page", 16, o => _pages[o], (o, v) => _pages[o] = v))];

    /// <inheritdoc/>
    public string SectionName => "host-ports";

    /// <inheritdoc/>
    public int SectionVersion => 1;

    /// <inheritdoc/>
    public IReadOnlyList<IoRange> Ports => _ports;

    /// <summary>The byte last written to port 80h: a POST code.</summary>
    public byte PostCode => _pages[0];

    /// <summary>The byte at a port, 0 to 15 for 80h to 8Fh.</summary>
    public byte Page(int port) => _pages[port];

    /// <inheritdoc/>
    public void Reset() => Array.Clear(_pages);

    /// <inheritdoc/>
    public void Save(StateWriter writer) => writer.Write(_pages.AsSpan());

    /// <inheritdoc/>
    public void Restore(StateReader reader, int version)
    {
        StateCheck.Version(SectionName, version, SectionVersion);
        StateCheck.Length(SectionName, "registers", reader.ReadBytes(16), 16).CopyTo(_pages, 0);
    }
}
