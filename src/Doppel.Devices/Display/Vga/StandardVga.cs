using Doppel.Devices.Pci;
using Doppel.Machine.Bus;
using Doppel.Machine.Memory;
using Doppel.Machine.State;

namespace Doppel.Devices.Display.Vga;

/// <summary>
/// The display adapter of QEMU's "std" (1234:1111): a VGA with the Bochs VBE extensions on PCI. BAR 0 is its memory as a
/// linear frame buffer, BAR 2 its registers: VGA's of 3C0h to 3DFh at 400h, the extensions' at 500h (QEMU
/// docs/specs/standard-vga.rst). The expansion ROM is the VGA BIOS.
/// </summary>
public sealed class StandardVga : PciFunction, IPciFunction, IDisplayAdapter
{
    private const int RegisterBytes = 4096;
    private readonly VgaController _vga;
    private readonly DeviceRam _memory;

    /// <summary>Creates the adapter.</summary>
    /// <param name="vga">Its VGA.</param>
    /// <param name="memory">The VGA's memory.</param>
    /// <param name="memoryBus">Where memory registers appear.</param>
    /// <param name="portBus">Where port registers appear.</param>
    /// <param name="rom">The VGA BIOS; empty for none.</param>
    public StandardVga(VgaController vga, DeviceRam memory, IoBus memoryBus, IoBus portBus, ReadOnlyMemory<byte> rom = default)
        : base("std-vga", new PciConfigSpace(0x1234, 0x1111, 0x030000, revision: 2, subsystemVendor: 0x1AF4, subsystem: 0x1100), portBus, memoryBus)
    {
        ArgumentNullException.ThrowIfNull(vga);
        ArgumentNullException.ThrowIfNull(memory);
        _vga = vga;
        _memory = memory;
        AddBar(new PciBar(0, (ulong)memory.Length, new FrameBufferRegion("frame-buffer", memory), IsPrefetchable: true));
        AddBar(new PciBar(2, RegisterBytes, new Registers(vga)));
        if (!rom.IsEmpty)
            AddRom(rom);
    }

    /// <inheritdoc/>
    public IReadOnlyList<IoRange> Ports => _vga.Ports;

    /// <inheritdoc/>
    public IReadOnlyList<IoRange> Memory => _vga.Memory;

    /// <inheritdoc/>
    public override void Reset()
    {
        base.Reset();
        _vga.Reset();
    }

    /// <inheritdoc/>
    public void Capture() => _vga.Capture();

    /// <inheritdoc/>
    public void Render(PixelSurface surface, DamageRegion damage, bool isNew) => _vga.Render(surface, damage, isNew);

    /// <inheritdoc/>
    public TextScreen? ReadText() => _vga.ReadText();

    /// <inheritdoc/>
    protected override void OnMapped(PciBar bar, ulong? address)
    {
        if (bar is not { Index: 0 })
            return;
        foreach ((ulong shown, _, int length) in _memory.Shown.ToList())
        {
            if (length == _memory.Length)
                _memory.Hide(shown);
        }

        // Where it can't be memory, the bus answers.
        if (address is ulong start)
            _ = _memory.TryShow(start, 0, _memory.Length);
    }

    /// <inheritdoc/>
    protected override void SaveFunction(StateWriter writer) => _vga.Save(writer);

    /// <inheritdoc/>
    protected override Action ReadFunction(StateReader reader) => _vga.ReadState(reader);

    private sealed class Registers(VgaController vga) : IIoRegion
    {
        private const ulong VgaStart = 0x400, VgaEnd = 0x420, VbeStart = 0x500, VbeEnd = VbeStart + (2 * BochsVbe.RegisterCount), Extended = 0x600;

        public string Name => "std-vga-registers";

        public ulong Read(ulong offset, int size)
        {
            if (offset is >= VbeStart and < VbeEnd && size == 2 && (offset & 1) == 0)
                return vga.ReadVbe((int)(offset - VbeStart) / 2);
            if (offset == Extended && size == 4)
                return 8;
            if (offset == Extended + 4 && size == 4)
                return LittleEndian;
            ulong value = 0;
            for (int i = 0; i < size; i++)
            {
                ulong at = offset + (uint)i;
                value |= (at is >= VgaStart and < VgaEnd ? vga.ReadPort(0x3C0 + (int)(at - VgaStart)) : 0ul) << (8 * i);
            }

            return value;
        }

        public void Write(ulong offset, int size, ulong value)
        {
            if (offset is >= VbeStart and < VbeEnd)
            {
                if (size == 2 && (offset & 1) == 0)
                    vga.WriteVbe((int)(offset - VbeStart) / 2, (ushort)value);
                return;
            }

            for (int i = 0; i < size; i++)
            {
                ulong at = offset + (uint)i;
                if (at is >= VgaStart and < VgaEnd)
                    vga.WritePort(0x3C0 + (int)(at - VgaStart), (byte)(value >> (8 * i)));
            }
        }

        private const ulong LittleEndian = 0x1E1E1E1E;
    }
}
