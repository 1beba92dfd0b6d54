using Doppel.Devices.Chipset;
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
    private const int AttributeMap = 0x59, Smram = 0x72;
    private const byte SmramOpen = 0x40, SmramLocked = 0x10, SmramEnabled = 0x08;
    private readonly PciBus _bus;
    private readonly IIoRegion? _resetControl;
    private readonly ShadowMemory? _shadow;
    private readonly PciConfigSpace _config = new(0x8086, 0x1237, 0x060000, revision: 2);
    private readonly IoRange[] _ports;
    private uint _address;

    /// <summary>Creates the bridge and puts it on the bus.</summary>
    /// <param name="bus">The bus behind it.</param>
    /// <param name="resetControl">Answers port CF9h; null for nothing there.</param>
    /// <param name="shadow">What the attribute map and the SMRAM register show; null for RAM everywhere, whatever they say.</param>
    public PciHostBridge(PciBus bus, IIoRegion? resetControl = null, ShadowMemory? shadow = null)
    {
        ArgumentNullException.ThrowIfNull(bus);
        _bus = bus;
        _resetControl = resetControl;
        _shadow = shadow;
        // The bridge answers memory and masters the bus always (82441FX data sheet, 3.2.3).
        _config.Define(PciConfigSpace.Command, 2, 0x0006, writable: 0x0100);
        _config.Define(PciConfigSpace.Status, 2, 0x0280, clearable: 0xF900);
        _config.Define(0x0C, 1, 0);
        _config.Define(0x3C, 1, 0);
        _config.Define(AttributeMap, 1, 0, writable: 0xF0);
        for (int offset = AttributeMap + 1; offset <= AttributeMap + 6; offset++)
            _config.Define(offset, 1, 0, writable: 0xFF);
        _config.Define(Smram, 1, 0x02, writable: shadow is null ? 0u : 0x78u);
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
    public void WriteConfig(int offset, int size, uint value)
    {
        byte smram = (byte)_config.Get(Smram, 1);
        _config.Write(offset, size, value);
        if (_shadow is null)
            return;
        // Once it is locked it is closed, and stays as it is until the next reset (82441FX data sheet, 3.2.21).
        byte written = (byte)_config.Get(Smram, 1);
        if ((smram & SmramLocked) != 0)
            _config.Set(Smram, 1, smram);
        else if ((written & SmramLocked) != 0)
            _config.Set(Smram, 1, written & ~(uint)SmramOpen);
        Show();
    }

    /// <inheritdoc/>
    public void Reset()
    {
        _address = 0;
        _config.Reset();
        Show();
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

    // The attribute map: 59h has the last segment, the others have two segments each, the lower address in the low half.
    private void Show()
    {
        if (_shadow is null)
            return;
        for (int segment = 0; segment < ShadowMemory.SegmentCount; segment++)
        {
            uint register = segment == ShadowMemory.SegmentCount - 1 ? _config.Get(AttributeMap, 1) >> 4 : _config.Get(AttributeMap + 1 + (segment / 2), 1) >> (4 * (segment & 1));
            _shadow.Set(segment, (register & 1) != 0, (register & 2) != 0);
        }

        const uint Shown = SmramOpen | SmramEnabled;
        _shadow.SetVideoRam((_config.Get(Smram, 1) & Shown) == Shown);
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
