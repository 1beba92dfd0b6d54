namespace Doppel.Devices.Pci;

/// <summary>One function on the PCI bus. Called with the machine's I/O lock held.</summary>
public interface IPciFunction : IDevice
{
    /// <summary>Reads from configuration space.</summary>
    /// <param name="offset">First byte, 0 to 255; 0 to 4095 for an express function.</param>
    /// <param name="size">1, 2 or 4; the access never crosses a doubleword.</param>
    uint ReadConfig(int offset, int size);

    /// <summary>Writes to configuration space; see <see cref="ReadConfig"/>. Never throws.</summary>
    void WriteConfig(int offset, int size, uint value);
}
