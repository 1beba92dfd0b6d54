using Doppel.Devices.Display;
using Doppel.Devices.Display.Vga;
using Doppel.Devices.Pci;
using Doppel.Machine.Bus;
using Doppel.Machine.Interrupts;
using Doppel.Machine.Memory;
using Doppel.Machine.State;

namespace Doppel.Devices.Virtio;

/// <summary>
/// A display adapter that is a VGA with the Bochs VBE extensions until its driver comes, and a virtio GPU then, as QEMU's
/// "virtio-vga" (1AF4:1050). BAR 0 is the VGA's memory as a linear frame buffer, BAR 2 the VGA's registers in a page and
/// the GPU's behind it, BAR 4 MSI-X's table. The expansion ROM is the VGA BIOS.
/// </summary>
public sealed class VirtioVga : VirtioPciTransport, IPciFunction, IDisplayAdapter
{
    private const uint VgaClass = 0x030000;
    private readonly VirtioGpu _gpu;
    private readonly VgaController _vga;
    private readonly FrameBufferRegion _frameBuffer;
    private bool _capturedGpu;
    private bool _renderedGpu;

    /// <summary>Creates the adapter.</summary>
    /// <param name="gpu">Its GPU; the adapter disposes it.</param>
    /// <param name="vga">Its VGA.</param>
    /// <param name="memory">The VGA's memory.</param>
    /// <param name="memoryBus">Where memory registers appear.</param>
    /// <param name="portBus">Where port registers appear.</param>
    /// <param name="messages">Where MSI-X messages go.</param>
    /// <param name="rom">The VGA BIOS; empty for none.</param>
    public VirtioVga(VirtioGpu gpu, VgaController vga, DeviceRam memory, IoBus memoryBus, IoBus portBus, IMessageSink messages, ReadOnlyMemory<byte> rom = default)
        : base(gpu, VgaClass, memoryBus, portBus, messages, new VirtioPciLayout(2, 4, new VgaRegisterWindow(vga ?? throw new ArgumentNullException(nameof(vga)))))
    {
        ArgumentNullException.ThrowIfNull(memory);
        (_gpu, _vga) = (gpu, vga);
        _frameBuffer = new FrameBufferRegion("frame-buffer", memory);
        AddBar(new PciBar(0, (ulong)memory.Length, _frameBuffer, IsPrefetchable: true));
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
    public void Capture()
    {
        _capturedGpu = _gpu.IsShown;
        if (_capturedGpu)
            _gpu.Capture();
        else
            _vga.Capture();
    }

    /// <inheritdoc/>
    public void Render(PixelSurface surface, DamageRegion damage, bool isNew)
    {
        isNew |= _capturedGpu != _renderedGpu;
        _renderedGpu = _capturedGpu;
        if (_capturedGpu)
            _gpu.Render(surface, damage, isNew);
        else
            _vga.Render(surface, damage, isNew);
    }

    /// <inheritdoc/>
    public TextScreen? ReadText() => _capturedGpu ? null : _vga.ReadText();

    /// <inheritdoc/>
    protected override void OnMapped(PciBar bar, ulong? address)
    {
        if (bar is { Index: 0 })
            _frameBuffer.Place(address);
    }

    /// <inheritdoc/>
    protected override void SaveFunction(StateWriter writer)
    {
        base.SaveFunction(writer);
        _vga.Save(writer);
    }

    /// <inheritdoc/>
    protected override Action ReadFunction(StateReader reader)
    {
        Action adoptGpu = base.ReadFunction(reader), adoptVga = _vga.ReadState(reader);
        return () =>
        {
            adoptGpu();
            adoptVga();
        };
    }
}
