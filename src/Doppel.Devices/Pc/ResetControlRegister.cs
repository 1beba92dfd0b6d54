using Doppel.Machine.Bus;
using Doppel.Machine.State;

namespace Doppel.Devices.Pc;

/// <summary>
/// The chipset's reset control register at CF9h (Intel ICH9 data sheet, 13.7.5). A rise of bit 2 resets: with bit 1
/// the whole machine, else the CPUs only (INIT). The port lies inside the PCI address register, which passes byte
/// accesses on (see <see cref="Pci.PciHostBridge"/>), so it is not among <see cref="IDevice.Ports"/>.
/// </summary>
/// <param name="hardReset">Called for a reset of the machine.</param>
/// <param name="cpuReset">Called for an INIT of the CPUs.</param>
public sealed class ResetControlRegister(Action hardReset, Action cpuReset) : IDevice, IIoRegion
{
    private byte _value;

    /// <inheritdoc/>
    public string Name => "reset-control";

    /// <inheritdoc/>
    public string SectionName => "reset-control";

    /// <inheritdoc/>
    public int SectionVersion => 1;

    /// <inheritdoc/>
    public void Reset() => _value = 0;

    /// <inheritdoc/>
    public ulong Read(ulong offset, int size) => _value;

    /// <inheritdoc/>
    public void Write(ulong offset, int size, ulong value)
    {
        byte before = _value;
        _value = (byte)(value & 0x0E);
        if ((_value & 4) == 0 || (before & 4) != 0)
            return;
        if ((_value & 2) != 0)
            hardReset();
        else
            cpuReset();
    }

    /// <inheritdoc/>
    public void Save(StateWriter writer) => writer.Write(_value);

    /// <inheritdoc/>
    public void Restore(StateReader reader, int version)
    {
        StateCheck.Version(SectionName, version, SectionVersion);
        _value = (byte)(reader.ReadByte() & 0x0E);
    }
}
