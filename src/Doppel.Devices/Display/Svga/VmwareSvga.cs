using Doppel.Devices.Display.Vga;
using Doppel.Devices.Pci;
using Doppel.Machine.Bus;
using Doppel.Machine.Memory;
using Doppel.Machine.State;
using Doppel.Machine.Time;

namespace Doppel.Devices.Display.Svga;

/// <summary>
/// VMware's SVGA II without 3D (15AD:0405; VMware's SVGA developer kit): a VGA with the Bochs VBE extensions until a driver
/// enables it, then a linear frame buffer of any size up to 2560 by 1600, with a pointer and a ring of commands. BAR 0 is its
/// ports, BAR 1 its memory, BAR 2 the ring. The expansion ROM is the VGA BIOS.
/// </summary>
/// <remarks>What a driver writes to the frame buffer is seen whether or not it says so, as with traces.</remarks>
public sealed partial class VmwareSvga : PciFunction, IPciFunction, IDisplayAdapter, IDisposable
{
    private const int PortCount = 16;
    // Fill, copy, pointers by masks and by alpha, both ways to move them, 8 bits a pixel, a longer ring, a locked pitch, interrupts, traces.
    private const uint Capabilities = 1 | 2 | 0x20 | 0x40 | 0x80 | 0x100 | 0x200 | 0x8000 | 0x2_0000 | 0x4_0000 | 0x20_0000;
    private readonly VgaController _vga;
    private readonly DeviceRam _memory;
    private readonly FrameBufferRegion _frameBuffer;
    private readonly IGuestClock _clock;
    private readonly IGuestTimer _timer;
    private readonly SvgaFifo _fifo;
    private readonly SvgaPicture _picture;
    private SvgaRegisters _registers = new();
    private CursorPlane _cursor;
    private uint _interruptStatus;
    private bool _captured;
    private bool _rendered;

    /// <summary>Creates the adapter.</summary>
    /// <param name="vga">Its VGA.</param>
    /// <param name="memory">The memory of both.</param>
    /// <param name="clock">Times the rest of commands that take long.</param>
    /// <param name="memoryBus">Where memory registers appear.</param>
    /// <param name="portBus">Where port registers appear.</param>
    /// <param name="rom">The VGA BIOS; empty for none.</param>
    public VmwareSvga(VgaController vga, DeviceRam memory, IGuestClock clock, IoBus memoryBus, IoBus portBus, ReadOnlyMemory<byte> rom = default)
        : base("vmware-svga", new PciConfigSpace(0x15AD, 0x0405, 0x030000, subsystemVendor: 0x15AD, subsystem: 0x0405), portBus, memoryBus)
    {
        ArgumentNullException.ThrowIfNull(vga);
        ArgumentNullException.ThrowIfNull(memory);
        ArgumentNullException.ThrowIfNull(clock);
        (_vga, _memory, _clock) = (vga, memory, clock);
        _frameBuffer = new FrameBufferRegion("frame-buffer", memory);
        _picture = new SvgaPicture(memory);
        _fifo = new SvgaFifo(OnFifoWritten);
        _fifo.Reset();
        _timer = clock.CreateTimer("vmware-svga", Process);
        InterruptPin = 1;
        AddBar(new PciBar(0, PortCount, new PortRegion(this), IsPort: true));
        AddBar(new PciBar(1, (ulong)memory.Length, _frameBuffer, IsPrefetchable: true));
        AddBar(new PciBar(2, SvgaFifo.Length, _fifo));
        if (!rom.IsEmpty)
            AddRom(rom);
    }

    /// <inheritdoc/>
    public IReadOnlyList<IoRange> Ports => _vga.Ports;

    /// <inheritdoc/>
    public IReadOnlyList<IoRange> Memory => _vga.Memory;

    /// <summary>True while a driver has it enabled, and not hidden: the VGA isn't seen then.</summary>
    public bool IsShown => _registers.Enable == SvgaRegisters.Enabled;

    /// <inheritdoc/>
    public override void Reset()
    {
        base.Reset();
        _vga.Reset();
        _registers.Reset();
        _fifo.Reset();
        _cursor = default;
        _interruptStatus = 0;
        _timer.Disarm();
    }

    /// <inheritdoc/>
    public void Capture()
    {
        _captured = IsShown;
        if (_captured)
            _picture.Capture(_registers, _cursor);
        else
            _vga.Capture();
    }

    /// <inheritdoc/>
    public void Render(PixelSurface surface, DamageRegion damage, bool isNew)
    {
        ArgumentNullException.ThrowIfNull(surface);
        ArgumentNullException.ThrowIfNull(damage);
        isNew |= _captured != _rendered;
        _rendered = _captured;
        if (_captured)
            _picture.Render(surface, damage, isNew);
        else
            _vga.Render(surface, damage, isNew);
    }

    /// <inheritdoc/>
    public TextScreen? ReadText() => _captured ? null : _vga.ReadText();

    /// <inheritdoc/>
    public void Dispose() => _timer.Dispose();

    /// <inheritdoc/>
    protected override void OnMapped(PciBar bar, ulong? address)
    {
        if (bar is { Index: 1 })
            _frameBuffer.Place(address);
    }

    /// <inheritdoc/>
    protected override void SaveFunction(StateWriter writer)
    {
        ArgumentNullException.ThrowIfNull(writer);
        _registers.Save(writer);
        writer.Write(_interruptStatus);
        writer.Write(_timer.Deadline ?? -1);
        CursorImage.Save(writer, _cursor.Image);
        writer.Write(_cursor.X);
        writer.Write(_cursor.Y);
        writer.Write(_cursor.IsVisible);
        _fifo.Save(writer);
        _vga.Save(writer);
    }

    /// <inheritdoc/>
    protected override Action ReadFunction(StateReader reader)
    {
        ArgumentNullException.ThrowIfNull(reader);
        SvgaRegisters registers = SvgaRegisters.Read(reader, SectionName);
        uint interruptStatus = reader.ReadUInt32() & 7;
        long deadline = StateCheck.Range(SectionName, "time of the next command", reader.ReadInt64(), -1, long.MaxValue / 4);
        CursorImage? image = CursorImage.Read(reader, SectionName);
        int x = (int)StateCheck.Range(SectionName, "column of the pointer", reader.ReadInt32(), -PixelSurface.MaximumSide, PixelSurface.MaximumSide);
        int y = (int)StateCheck.Range(SectionName, "row of the pointer", reader.ReadInt32(), -PixelSurface.MaximumSide, PixelSurface.MaximumSide);
        bool isVisible = reader.ReadBool();
        byte[] fifo = SvgaFifo.ReadState(reader, SectionName);
        Action adoptVga = _vga.ReadState(reader);
        return () =>
        {
            (_registers, _interruptStatus, _cursor) = (registers, interruptStatus, new CursorPlane(image, x, y, isVisible));
            _fifo.Adopt(fifo);
            adoptVga();
            if (deadline >= 0)
                _timer.Arm(deadline);
            else
                _timer.Disarm();
            UpdateInterrupt();
        };
    }

    private uint ReadRegister()
    {
        SvgaRegisters r = _registers;
        (uint red, uint green, uint blue) = r.Bits switch
        {
            8 => (0u, 0u, 0u),
            15 => (0x7C00u, 0x03E0u, 0x001Fu),
            16 => (0xF800u, 0x07E0u, 0x001Fu),
            _ => (0xFF0000u, 0x00FF00u, 0x0000FFu),
        };
        switch (r.Index)
        {
            case SvgaRegisters.Id:
                return r.Version;
            case SvgaRegisters.EnableNumber:
                return r.Enable;
            case SvgaRegisters.WidthNumber:
                return (uint)r.Width;
            case SvgaRegisters.HeightNumber:
                return (uint)r.Height;
            case SvgaRegisters.MaximumWidthNumber:
                return SvgaRegisters.MaximumWidth;
            case SvgaRegisters.MaximumHeightNumber:
                return SvgaRegisters.MaximumHeight;
            case SvgaRegisters.DepthNumber:
                return (uint)r.Depth;
            case SvgaRegisters.BitsNumber:
                return (uint)r.Bits;
            case SvgaRegisters.Pseudocolor:
                return r.Bits == 8 ? 1u : 0;
            case SvgaRegisters.RedMask:
                return red;
            case SvgaRegisters.GreenMask:
                return green;
            case SvgaRegisters.BlueMask:
                return blue;
            case SvgaRegisters.BytesPerLine:
                return (uint)r.Mode.Pitch;
            case SvgaRegisters.FrameBufferStart:
                return Config.Get(0x14, 4) & ~15u;
            case SvgaRegisters.MemorySize:
                return (uint)_memory.Length;
            case SvgaRegisters.FrameBufferSize:
                return (uint)Math.Min((long)r.Mode.Pitch * r.Height, _memory.Length);
            case SvgaRegisters.Capabilities:
                return Capabilities;
            case SvgaRegisters.FifoStart:
                return Config.Get(0x18, 4) & ~15u;
            case SvgaRegisters.FifoSize:
                return SvgaFifo.Length;
            case SvgaRegisters.ConfigDone:
                return r.IsConfigured ? 1u : 0;
            case SvgaRegisters.Busy:
                Process();
                return _timer.Deadline is null ? 0u : 1;
            case SvgaRegisters.GuestId:
                return r.Guest;
            case SvgaRegisters.CursorId:
                return r.Cursor;
            case SvgaRegisters.CursorX:
                return (uint)_cursor.X;
            case SvgaRegisters.CursorY:
                return (uint)_cursor.Y;
            case SvgaRegisters.CursorOn:
                return _cursor.IsVisible ? 1u : 0;
            case SvgaRegisters.HostBits:
                return 32;
            case SvgaRegisters.ScratchSize:
                return SvgaRegisters.ScratchCount;
            case SvgaRegisters.FifoRegisters:
                return SvgaFifo.RegisterCount;
            case SvgaRegisters.Displays:
                return 1;
            case SvgaRegisters.PitchLock:
                return (uint)r.LockedPitch;
            case SvgaRegisters.InterruptMask:
                return r.Interrupts;
            case SvgaRegisters.Traces:
                return r.HasTraces;
            default:
                return r.ReadStored(r.Index);
        }
    }

    private void WriteRegister(uint value)
    {
        _registers.Write(_registers.Index, value);
        switch (_registers.Index)
        {
            case SvgaRegisters.ConfigDone:
                _fifo.Announce();
                Process();
                break;
            case SvgaRegisters.EnableNumber or SvgaRegisters.Sync:
                Process();
                break;
            case SvgaRegisters.CursorX:
                _cursor = _cursor with { X = Place(value) };
                break;
            case SvgaRegisters.CursorY:
                _cursor = _cursor with { Y = Place(value) };
                break;
            case SvgaRegisters.CursorOn:
                // 2 and 3 take the pointer out of the picture and put it back, which is the same for one that lies over it.
                _cursor = _cursor with { IsVisible = (value & 1) != 0 };
                break;
            case SvgaRegisters.InterruptMask:
                UpdateInterrupt();
                break;
        }
    }

    private static int Place(uint value) => Math.Clamp((int)value, -PixelSurface.MaximumSide, PixelSurface.MaximumSide);

    private void Raise(uint cause)
    {
        // What nobody has asked for isn't noted.
        _interruptStatus |= cause & _registers.Interrupts;
        UpdateInterrupt();
    }

    private void UpdateInterrupt() => SetInterrupt((_interruptStatus & _registers.Interrupts) != 0);

    private sealed class PortRegion(VmwareSvga owner) : IIoRegion
    {
        private const ulong IndexPort = 0, ValuePort = 1, BiosPort = 2, InterruptPort = 8;

        public string Name => "vmware-svga";

        public ulong Read(ulong offset, int size)
        {
            uint value = offset switch
            {
                IndexPort => owner._registers.Index,
                ValuePort when size == 4 => owner.ReadRegister(),
                BiosPort => 0,
                InterruptPort => owner._interruptStatus,
                _ => uint.MaxValue,
            };
            return size >= 4 ? value : value & ((1u << (8 * size)) - 1);
        }

        public void Write(ulong offset, int size, ulong value)
        {
            switch (offset)
            {
                case IndexPort when size == 4:
                    owner._registers.Index = (uint)value;
                    break;
                case ValuePort when size == 4:
                    owner.WriteRegister((uint)value);
                    break;
                case InterruptPort:
                    // Ones clear.
                    owner._interruptStatus &= ~(uint)value;
                    owner.UpdateInterrupt();
                    break;
            }
        }
    }
}
