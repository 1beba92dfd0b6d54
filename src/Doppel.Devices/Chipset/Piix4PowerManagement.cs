using Doppel.Devices.Pc;
using Doppel.Devices.Pci;
using Doppel.Machine.Bus;
using Doppel.Machine.State;

namespace Doppel.Devices.Chipset;

/// <summary>
/// The PIIX4's power management function (8086:7113; data sheet 290562, chapters 7 and 11): ACPI's registers and an SMBus host
/// controller, at ports that the guest's firmware chooses. The system control interrupt is interrupt 9, whatever its registers
/// say. There is no system management mode: the bit that makes the command port raise an SMI is set from the start, by which
/// firmware sees that it need not set one up.
/// </summary>
public sealed class Piix4PowerManagement : PciFunction
{
    /// <summary>Where it sits: 00:01.3.</summary>
    public static readonly PciAddress Address = new(0, 1, 3);

    private const int Base = 0x40, DeviceActivityB = 0x58, Miscellaneous = 0x80, SmbusBase = 0x90, SmbusConfiguration = 0xD2;
    private readonly AcpiPm _acpi;
    private readonly IoBus _portBus;
    private readonly SmbusHost _smbus = new();
    private ulong? _smbusAt;

    /// <summary>Creates the function with its registers nowhere.</summary>
    /// <param name="acpi">ACPI's registers, made relocatable.</param>
    /// <param name="portBus">Where the registers appear.</param>
    /// <param name="memoryBus">The other bus, of which it uses nothing.</param>
    public Piix4PowerManagement(AcpiPm acpi, IoBus portBus, IoBus memoryBus)
        : base("piix4-pm", MakeConfig(), portBus, memoryBus)
    {
        ArgumentNullException.ThrowIfNull(acpi);
        _acpi = acpi;
        _portBus = portBus;
        InterruptPin = 1;
    }

    /// <inheritdoc/>
    public override void WriteConfig(int offset, int size, uint value)
    {
        base.WriteConfig(offset, size, value);
        Place();
    }

    /// <inheritdoc/>
    public override void Reset()
    {
        base.Reset();
        _smbus.Reset();
        Place();
    }

    /// <inheritdoc/>
    protected override void SaveFunction(StateWriter writer) => _smbus.Save(writer);

    /// <inheritdoc/>
    protected override Action? ReadFunction(StateReader reader)
    {
        byte[] smbus = SmbusHost.Read(reader, SectionName);
        return () =>
        {
            _smbus.Adopt(smbus);
            Place();
        };
    }

    private static PciConfigSpace MakeConfig()
    {
        var config = new PciConfigSpace(0x8086, 0x7113, 0x068000, revision: 3);
        config.Define(PciConfigSpace.Command, 2, 0, writable: 0x0001);
        config.Define(PciConfigSpace.Status, 2, 0x0280, clearable: 0xF900);
        config.Define(Base, 4, 1, writable: 0xFFC0);
        config.Define(0x44, 4, 0, writable: uint.MaxValue);
        config.Define(0x48, 4, 0, writable: uint.MaxValue);
        config.Define(0x4C, 4, 0, writable: uint.MaxValue);
        config.Define(0x50, 4, 0, writable: uint.MaxValue);
        config.Define(0x54, 4, 0, writable: uint.MaxValue);
        config.Define(DeviceActivityB, 4, 0x0200_0000, writable: uint.MaxValue);
        for (int resource = 0x5C; resource <= 0x7C; resource += 4)
            config.Define(resource, 4, 0, writable: uint.MaxValue);
        config.Define(Miscellaneous, 1, 0, writable: 0x01);
        config.Define(SmbusBase, 4, 1, writable: 0xFFF0);
        config.Define(SmbusConfiguration, 1, 0, writable: 0x0F);
        config.Define(SmbusConfiguration + 1, 1, 0, writable: 0xFF);
        config.Define(SmbusConfiguration + 2, 2, 0, writable: 0xFFFF);
        return config;
    }

    // Guests' drivers, and firmware before it sets the command register, rely on the two enable bits alone.
    private void Place()
    {
        uint acpi = Config.Get(Base, 4) & 0xFFC0;
        _acpi.MoveTo(_portBus, (Config.Get(Miscellaneous, 1) & 1) != 0 && acpi != 0 ? (ushort)acpi : null);
        uint smbus = Config.Get(SmbusBase, 4) & 0xFFF0;
        ulong? wanted = (Config.Get(SmbusConfiguration, 1) & 1) != 0 && smbus != 0 ? smbus : null;
        if (wanted == _smbusAt)
            return;
        if (_smbusAt is ulong old)
            _portBus.Unmap(old);
        _smbusAt = wanted is ulong at && _portBus.TryMap(at, SmbusHost.Length, _smbus) ? at : null;
    }
}
