using Doppel.Machine.Bus;
using Doppel.Machine.Memory;
using Doppel.Machine.State;
using Doppel.Machine.Time;

namespace Doppel.Devices.Display.Vga;

/// <summary>
/// A VGA with the Bochs VBE extensions: sequencer, CRTC, graphics and attribute controllers, DAC (IBM PS/2 hardware
/// interface technical reference, "Video subsystem"), the memory windows at A0000h to BFFFFh and the picture.
/// </summary>
/// <remarks>
/// Byte p of the group n of four bytes of memory is plane p's byte n. Where a VGA spreads addresses over planes (odd/even,
/// chain 4) it leaves gaps between the bytes it uses, which its CRTC skips; here they are left out on both sides, so that
/// chained memory is linear, as the frame buffer is.
/// </remarks>
public sealed partial class VgaController : IDevice, IDisplayAdapter
{
    /// <summary>First byte of the memory windows.</summary>
    public const ulong WindowStart = 0xA0000;

    /// <summary>Bytes of all memory windows.</summary>
    public const int WindowLength = 0x20000;

    /// <summary>Bytes of the memory by which text modes are reached.</summary>
    public const int TextWindowLength = VgaDirectWindow.TextLength;

    private const int VbePorts = 0x1CE;
    private readonly DeviceRam _memory;
    private readonly IGuestClock _clock;
    private readonly VgaRegisters _registers;
    private readonly VgaTiming _timing;
    private readonly VgaDirectWindow _direct;
    private readonly IoRange[] _ports;
    private readonly IoRange[] _windows;

    /// <summary>Creates the adapter as it is after power-on: dark, until firmware or a driver sets a mode.</summary>
    /// <param name="memory">Its memory: a power of two from 4 MiB on.</param>
    /// <param name="clock">Times the retrace.</param>
    /// <param name="text">Memory of <see cref="TextWindowLength"/> bytes by which the guest reaches text modes quickly; null for none.</param>
    public VgaController(DeviceRam memory, IGuestClock clock, DeviceRam? text = null)
    {
        ArgumentNullException.ThrowIfNull(memory);
        ArgumentNullException.ThrowIfNull(clock);
        if (memory.Length < 4 << 20 || !int.IsPow2(memory.Length))
            throw new ArgumentException($"{memory.Length} bytes: a power of two from 4 MiB on would be right", nameof(memory));
        _memory = memory;
        _clock = clock;
        _registers = new VgaRegisters { Vbe = new BochsVbe(memory.Length) };
        if (text is not null && text.Length != TextWindowLength)
            throw new ArgumentException($"{text.Length} bytes: {TextWindowLength} would be right", nameof(text));
        _timing = new VgaTiming(_registers);
        _direct = new VgaDirectWindow(_registers, memory, text);
        _captured = _registers.Clone();
        _written = new WrittenPages(memory);
        _ports =
        [
            Range(VbePorts, 4, new VbeRegion(this)),
            Range(0x3B4, 2), Range(0x3BA, 1), Range(0x3C0, 16), Range(0x3D4, 2), Range(0x3DA, 1),
        ];
        _windows = [new IoRange(WindowStart, WindowLength, new WindowRegion(this))];
    }

    /// <inheritdoc/>
    public string SectionName => "vga";

    /// <inheritdoc/>
    public int SectionVersion => 1;

    /// <inheritdoc/>
    public IReadOnlyList<IoRange> Ports => _ports;

    /// <inheritdoc/>
    public IReadOnlyList<IoRange> Memory => _windows;

    /// <inheritdoc/>
    public void Reset()
    {
        _direct.Hide();
        _registers.CopyFrom(new VgaRegisters { Vbe = new BochsVbe(_memory.Length) });
        _memory.Bytes.Clear();
        _memory.NoteWrite(0, _memory.Length);
        UpdateTiming();
    }

    /// <summary>Says whether other memory is where the windows are, as when a chip set shows RAM there. With the I/O lock held, before it does and after it did.</summary>
    public void SetCovered(bool isCovered) => _direct.IsCovered = isCovered;

    /// <inheritdoc/>
    public void Save(StateWriter writer)
    {
        ArgumentNullException.ThrowIfNull(writer);
        _direct.Collect();
        _direct.Collect();
        _registers.Save(writer);
        writer.Write(_timing.RetraceCleared);
        writer.Write(_timing.Origin);
        VideoMemoryState.Save(writer, _memory.Bytes);
    }

    /// <inheritdoc/>
    public void Restore(StateReader reader, int version)
    {
        StateCheck.Version(SectionName, version, SectionVersion);
        ReadState(reader)();
    }

    /// <summary>Reads a register at its port of 3B0h to 3DFh; FFh where there is none.</summary>
    internal byte ReadPort(int port)
    {
        VgaRegisters r = _registers;
        // The CRTC and status ports are at 3Bxh on a monochrome display, at 3Dxh on a colour one.
        if (port < 0x3C0 ? (r.Misc & 1) != 0 : port >= 0x3D0 && (r.Misc & 1) == 0)
            return 0xFF;
        switch (port)
        {
            case 0x3C0:
                return r.AttributeIndex;
            case 0x3C1:
                int attribute = r.AttributeIndex & 0x1F;
                return attribute < VgaRegisters.AttributeCount ? r.Attribute[attribute] : (byte)0;
            case 0x3C2:
                // Bit 4: the sense of a colour monitor.
                return (byte)(0x10 | (_timing.HasRetraced(_clock.Now) ? 0x80 : 0));
            case 0x3C3:
                return r.Enable;
            case 0x3C4:
                return r.SequencerIndex;
            case 0x3C5:
                return r.SequencerIndex < VgaRegisters.SequencerCount ? r.Sequencer[r.SequencerIndex] : (byte)0;
            case 0x3C6:
                return r.PelMask;
            case 0x3C7:
                return r.DacReads ? (byte)3 : (byte)0;
            case 0x3C8:
                return r.DacWriteIndex;
            case 0x3C9:
                return ReadDac();
            case 0x3CA:
                return r.FeatureControl;
            case 0x3CC:
                return r.Misc;
            case 0x3CE:
                return r.GraphicsIndex;
            case 0x3CF:
                return r.GraphicsIndex < VgaRegisters.GraphicsCount ? r.Graphics[r.GraphicsIndex] : (byte)0;
            case 0x3B4 or 0x3D4:
                return r.CrtcIndex;
            case 0x3B5 or 0x3D5:
                return ReadCrtc();
            case 0x3BA or 0x3DA:
                r.AttributeExpectsData = false;
                return _timing.Status(_clock.Now);
            default:
                return 0xFF;
        }
    }

    /// <summary>Writes a register at its port of 3B0h to 3DFh.</summary>
    internal void WritePort(int port, byte value)
    {
        VgaRegisters r = _registers;
        if (port < 0x3C0 ? (r.Misc & 1) != 0 : port >= 0x3D0 && (r.Misc & 1) == 0)
            return;
        switch (port)
        {
            case 0x3C0:
                WriteAttribute(value);
                break;
            case 0x3C2:
                r.Misc = value;
                UpdateTiming();
                _direct.Update();
                break;
            case 0x3C3:
                r.Enable = (byte)(value & 1);
                break;
            case 0x3C4:
                r.SequencerIndex = (byte)(value & 7);
                break;
            case 0x3C5 when r.SequencerIndex < VgaRegisters.SequencerCount:
                ReadOnlySpan<byte> sequencerBits = [0x03, 0x3D, 0x0F, 0x3F, 0x0E];
                r.Sequencer[r.SequencerIndex] = (byte)(value & sequencerBits[r.SequencerIndex]);
                UpdateTiming();
                _direct.Update();
                break;
            case 0x3C6:
                r.PelMask = value;
                break;
            case 0x3C7:
                r.DacReadIndex = value;
                r.DacComponent = 0;
                r.DacReads = true;
                break;
            case 0x3C8:
                r.DacWriteIndex = value;
                r.DacComponent = 0;
                r.DacReads = false;
                break;
            case 0x3C9:
                WriteDac(value);
                break;
            case 0x3CE:
                r.GraphicsIndex = (byte)(value & 0x0F);
                break;
            case 0x3CF when r.GraphicsIndex < VgaRegisters.GraphicsCount:
                ReadOnlySpan<byte> graphicsBits = [0x0F, 0x0F, 0x0F, 0x1F, 0x03, 0x7B, 0x0F, 0x0F, 0xFF];
                r.Graphics[r.GraphicsIndex] = (byte)(value & graphicsBits[r.GraphicsIndex]);
                _direct.Update();
                break;
            case 0x3B4 or 0x3D4:
                r.CrtcIndex = value;
                break;
            case 0x3B5 or 0x3D5:
                WriteCrtc(value);
                break;
            case 0x3BA or 0x3DA:
                r.FeatureControl = (byte)(value & 0x10);
                break;
        }
    }

    /// <summary>Reads a register of the Bochs extensions by number.</summary>
    internal ushort ReadVbe(int index) => _registers.Vbe.Read(index);

    /// <summary>Writes one.</summary>
    internal void WriteVbe(int index, ushort value)
    {
        if (_registers.Vbe.Write(index, value))
            BeginVbeMode();
        UpdateTiming();
        _direct.Update();
    }

    /// <summary>Reads and checks what <see cref="Save"/> wrote; calling the result takes it over.</summary>
    internal Action ReadState(StateReader reader)
    {
        ArgumentNullException.ThrowIfNull(reader);
        VgaRegisters registers = VgaRegisters.Read(reader, SectionName, _memory.Length);
        long cleared = StateCheck.Range(SectionName, "time of the last retrace", reader.ReadInt64(), 0, long.MaxValue / 4);
        long origin = StateCheck.Range(SectionName, "begin of a picture", reader.ReadInt64(), 0, long.MaxValue / 4);
        byte[] memory = VideoMemoryState.Read(reader, SectionName, _memory.Length);
        return () =>
        {
            _direct.Hide();
            _registers.CopyFrom(registers);
            memory.CopyTo(_memory.Bytes);
            _memory.NoteWrite(0, _memory.Length);
            UpdateTiming();
            _direct.Update();
            (_timing.RetraceCleared, _timing.Origin) = (cleared, origin);
        };
    }

    private static IoRange Range(int start, int length, IIoRegion region) => new((ulong)start, (ulong)length, region);

    private IoRange Range(int start, int length) =>
        Range(start, length, new BytePorts("vga", length, offset => ReadPort(start + offset), (offset, value) => WritePort(start + offset, value)));

    private byte ReadCrtc()
    {
        VgaRegisters r = _registers;
        // Register 22h, which IBM doesn't name: the latch of the plane that reads choose.
        if (r.CrtcIndex == 0x22)
            return (byte)(r.Latch >> (8 * (r.Graphics[4] & 3)));
        return r.CrtcIndex < VgaRegisters.CrtcCount ? r.Crtc[r.CrtcIndex] : (byte)0;
    }

    private void WriteCrtc(byte value)
    {
        VgaRegisters r = _registers;
        int index = r.CrtcIndex;
        if (index >= VgaRegisters.CrtcCount)
            return;
        // Bit 7 of register 11h protects registers 0 to 7, but for the line compare bit.
        if (index <= 7 && (r.Crtc[0x11] & 0x80) != 0)
        {
            if (index == 7)
                r.Crtc[7] = (byte)((r.Crtc[7] & ~0x10) | (value & 0x10));
            return;
        }

        r.Crtc[index] = value;
        if (index == 0x11 && (value & 0x10) == 0)
            _timing.RetraceCleared = _clock.Now;
        UpdateTiming();
    }

    private void WriteAttribute(byte value)
    {
        VgaRegisters r = _registers;
        if (!r.AttributeExpectsData)
        {
            r.AttributeIndex = (byte)(value & 0x3F);
        }
        else if ((r.AttributeIndex & 0x1F) is int index && index < VgaRegisters.AttributeCount)
        {
            byte mask = index switch
            {
                < 0x10 => 0x3F,
                0x10 => 0xEF,
                0x11 => 0xFF,
                0x12 => 0x3F,
                _ => 0x0F,
            };
            r.Attribute[index] = (byte)(value & mask);
        }

        r.AttributeExpectsData = !r.AttributeExpectsData;
    }

    private byte ReadDac()
    {
        VgaRegisters r = _registers;
        byte value = r.Palette[(3 * r.DacReadIndex) + r.DacComponent];
        if (++r.DacComponent == 3)
        {
            r.DacComponent = 0;
            r.DacReadIndex++;
        }

        return value;
    }

    private void WriteDac(byte value)
    {
        VgaRegisters r = _registers;
        if (!r.Vbe.HasWideDac)
            value &= 0x3F;
        switch (r.DacComponent++)
        {
            case 0:
                r.DacRed = value;
                break;
            case 1:
                r.DacGreen = value;
                break;
            default:
                // A colour changes when its last component has come.
                Span<byte> entry = r.Palette.AsSpan(3 * r.DacWriteIndex++, 3);
                (entry[0], entry[1], entry[2]) = (r.DacRed, r.DacGreen, value);
                r.DacComponent = 0;
                break;
        }
    }

    // As Bochs does: a mode of the extensions sets up the VGA for its window, so that banked programs need no BIOS.
    private void BeginVbeMode()
    {
        _direct.Hide();
        VgaRegisters r = _registers;
        BochsVbe vbe = r.Vbe;
        r.Graphics[6] = (byte)((r.Graphics[6] & ~0x0C) | 0x05);
        r.Crtc[0x17] |= 3;
        r.Crtc[0x13] = (byte)(vbe.BytesPerRow >> 3);
        r.Crtc[1] = (byte)((vbe.PixelWidth >> 3) - 1);
        int last = vbe.PixelHeight - 1;
        r.Crtc[0x12] = (byte)last;
        r.Crtc[7] = (byte)((r.Crtc[7] & ~0x42) | ((last >> 7) & 2) | ((last >> 3) & 0x40) | 0x10);
        r.Crtc[9] = (byte)((r.Crtc[9] & ~0x9F) | 0x40);
        r.Crtc[0x18] = 0xFF;
        r.Sequencer[2] |= 0x0F;
        if (vbe.BitsPerPixel == 4)
        {
            r.Sequencer[4] = (byte)((r.Sequencer[4] & ~8) | 6);
            r.Graphics[5] &= 0x0F;
        }
        else
        {
            r.Sequencer[4] |= 0x0E;
            r.Graphics[5] = (byte)((r.Graphics[5] & ~0x70) | 0x40);
        }

        if ((vbe.Read(BochsVbe.Enable) & BochsVbe.KeepsMemory) == 0)
        {
            int length = Math.Min(vbe.BytesPerRow * vbe.PixelHeight, _memory.Length);
            _memory.Bytes[..length].Clear();
            _memory.NoteWrite(0, length);
        }
    }

    private void UpdateTiming() => _timing.Update(_clock.Now);

    private sealed class VbeRegion(VgaController owner) : IIoRegion
    {
        public string Name => "vbe";

        // The index at 1CEh, its register at 1CFh and at 1D0h: words.
        public ulong Read(ulong offset, int size)
        {
            ulong value = offset switch
            {
                0 => owner._registers.Vbe.Index,
                1 or 2 => owner._registers.Vbe.Read(),
                _ => 0xFFFF,
            };
            return size == 1 ? value & 0xFF : size == 2 ? value : value | 0xFFFF_0000;
        }

        public void Write(ulong offset, int size, ulong value)
        {
            if (size == 1)
                return;
            if (offset == 0)
                owner._registers.Vbe.Index = (ushort)value;
            else if (offset is 1 or 2)
                owner.WriteVbe(owner._registers.Vbe.Index, (ushort)value);
        }
    }
}
