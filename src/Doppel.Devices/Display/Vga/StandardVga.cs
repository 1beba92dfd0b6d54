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
    private readonly FrameBufferRegion _frameBuffer;

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
        _frameBuffer = new FrameBufferRegion("frame-buffer", memory);
        AddBar(new PciBar(0, (ulong)memory.Length, _frameBuffer, IsPrefetchable: true));
        AddBar(new PciBar(2, RegisterBytes, new VgaRegisterWindow(vga)));
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
        if (bar is { Index: 0 })
            _frameBuffer.Place(address);
    }

    /// <inheritdoc/>
    protected override void SaveFunction(StateWriter writer) => _vga.Save(writer);

    /// <inheritdoc/>
    protected override Action ReadFunction(StateReader reader) => _vga.ReadState(reader);
}
