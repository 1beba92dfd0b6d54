using Doppel.Machine.Bus;
using Doppel.Machine.State;

namespace Doppel.Devices.Pci;

/// <summary>
/// Host bridge at 00:00.0 with the identity of Intel's 440FX (8086:1237), and configuration mechanism #1: the address
/// register at CF8h takes doubleword accesses only, the data window at CFCh any (PCI 3.0, 3.2.2.3.2). Other accesses
/// to CF8h to CFBh pass to the ports below: CF9h is the reset control register.
/// </summary>
public sealed class PciHostBridge : IPciFunction
{
    private const uint AddressMask = 0x80FF_FFFC;
    private readonly PciBus _bus;
    private readonly IIoRegion? _resetControl;
    private readonly PciConfigSpace _config = new(0x8086, 0x1237, 0x060000, revision: 2);
    private readonly IoRange[] _ports;
    private uint _address;

    /// <summary>Creates the bridge and puts it on the bus.</summary>
    /// <param name="bus">The bus behind it.</param>
    /// <param name="resetControl">Answers port CF9h; null for nothing there.</param>
    public PciHostBridge(PciBus bus, IIoRegion? resetControl = null)
    {
        ArgumentNullException.ThrowIfNull(bus);
        _bus = bus;
        _resetControl = resetControl;
        // The bridge answers memory and masters the bus always (82441FX data sheet, 3.2.3).
        _config.Define(PciConfigSpace.Command, 2, 0x0006, writable: 0x0100);
        _config.Define(PciConfigSpace.Status, 2, 0x0280, clearable: 0xF900);
        _config.Define(0x0C, 1, 0);
        _config.Define(0x3C, 1, 0);
        // Programmable attribute map: stored, without effect, since the machine's BIOS area is fixed.
        _config.Define(0x59, 1, 0, writable: 0xF0);
        for (int offset = 0x5A; offset <= 0x5F; offset++)
            _config.Define(offset, 1, 0, writable: 0xFF);
        _config.Define(0x72, 1, 0x02);
        bus.Add(default, this);
        _ports = [new IoRange(PcPorts.PciConfigAddress, 8, new Region(this))];
    }

    /// <inheritdoc/>
    public string SectionName => "pci-host";

    /// <inheritdoc/>
    public int SectionVersion => 1;

    /// <inheritdoc/>
    public IReadOnlyList<IoRange> Ports => _ports;

    /// <inheritdoc/>
    public uint ReadConfig(int offset, int size) => _config.Get(offset, size);

    /// <inheritdoc/>
    public void WriteConfig(int offset, int size, uint value) => _config.Write(offset, size, value);

    /// <inheritdoc/>
    public void Reset()
    {
        _address = 0;
        _config.Reset();
    }

    /// <inheritdoc/>
    public void Save(StateWriter writer)
    {
        writer.Write(_address);
        _config.Save(writer);
    }

    /// <inheritdoc/>
    public void Restore(StateReader reader, int version)
    {
        StateCheck.Version(SectionName, version, SectionVersion);
        uint address = reader.ReadUInt32() & AddressMask;
        _config.Adopt(_config.ReadState(reader, SectionName));
        _address = address;
    }

    private ulong Read(int offset, int size)
    {
        if (offset == 0 && size == 4)
            return _address;
        if (offset < 4)
            return offset == 1 && size == 1 && _resetControl is not null ? _resetControl.Read(0, 1) & 0xFF : Ones(size);
        if ((_address & 0x8000_0000) == 0)
            return Ones(size);
        return _bus.ReadConfig(PciAddress.FromPacked((ushort)(_address >> 8)), (int)(_address & 0xFC) + (offset & 3), size);
    }

    private void Write(int offset, int size, uint value)
    {
        if (offset == 0 && size == 4)
            _address = value & AddressMask;
        else if (offset == 1 && size == 1)
            _resetControl?.Write(0, 1, value);
        else if (offset >= 4 && (_address & 0x8000_0000) != 0)
            _bus.WriteConfig(PciAddress.FromPacked((ushort)(_address >> 8)), (int)(_address & 0xFC) + (offset & 3), size, value);
    }

    private static ulong Ones(int size) => (1UL << (8 * size)) - 1;

    private sealed class Region(PciHostBridge owner) : IIoRegion
    {
        public string Name => "pci-config";

        public ulong Read(ulong offset, int size)
        {
            if (IsWhole(offset, size))
                return owner.Read((int)offset, size);
            ulong value = 0;
            for (int i = 0; i < size; i++)
                value |= (offset + (uint)i < 8 ? owner.Read((int)offset + i, 1) : 0xFFu) << (8 * i);
            return value;
        }

        public void Write(ulong offset, int size, ulong value)
        {
            if (IsWhole(offset, size))
            {
                owner.Write((int)offset, size, (uint)value);
                return;
            }

            for (int i = 0; i < size && offset + (uint)i < 8; i++)
                owner.Write((int)offset + i, 1, (byte)(value >> (8 * i)));
        }

        /// <summary>An access within one of the two doublewords goes through whole; any other byte by byte.</summary>
        private static bool IsWhole(ulong offset, int size) => offset < 8 && (int)(offset & 3) + size <= 4;
    }
}
