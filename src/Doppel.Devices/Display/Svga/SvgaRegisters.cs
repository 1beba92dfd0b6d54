using Doppel.Machine.State;

namespace Doppel.Devices.Display.Svga;

/// <summary>
/// The registers of the SVGA II that keep what is written, by the numbers of VMware's developer kit (svga_reg.h). Plain data;
/// the adapter acts on what changes. A value that no mode has is ignored, so that there always is a mode.
/// </summary>
internal sealed class SvgaRegisters
{
    internal const int Id = 0, EnableNumber = 1, WidthNumber = 2, HeightNumber = 3, MaximumWidthNumber = 4, MaximumHeightNumber = 5, DepthNumber = 6, BitsNumber = 7,
        Pseudocolor = 8, RedMask = 9, GreenMask = 10, BlueMask = 11, BytesPerLine = 12, FrameBufferStart = 13, FrameBufferOffset = 14, MemorySize = 15,
        FrameBufferSize = 16, Capabilities = 17, FifoStart = 18, FifoSize = 19, ConfigDone = 20, Sync = 21, Busy = 22, GuestId = 23, CursorId = 24,
        CursorX = 25, CursorY = 26, CursorOn = 27, HostBits = 28, ScratchSize = 29, FifoRegisters = 30, Displays = 31, PitchLock = 32, InterruptMask = 33,
        Traces = 45, PaletteBase = 1024, ScratchBase = PaletteBase + 768, ScratchCount = 64;

    internal const int MaximumWidth = 2560, MaximumHeight = 1600;
    internal const uint Enabled = 1, Hidden = 2;
    private const uint OldestId = 0x9000_0000, NewestId = 0x9000_0002;
    private const int LongestPitch = 4 * PixelSurface.MaximumSide;
    private readonly byte[] _palette = new byte[768];
    private readonly uint[] _scratch = new uint[ScratchCount];

    internal SvgaRegisters() => Reset();

    internal uint Index { get; set; }

    internal uint Version { get; private set; }

    internal uint Enable { get; private set; }

    internal bool IsConfigured { get; private set; }

    internal uint Guest { get; private set; }

    internal uint Cursor { get; private set; }

    internal uint HasTraces { get; private set; }

    internal uint Interrupts { get; private set; }

    internal int Width { get; private set; }

    internal int Height { get; private set; }

    internal int Bits { get; private set; }

    internal int LockedPitch { get; private set; }

    internal SvgaMode Mode => new(Width, Height, Bits, Math.Max(LockedPitch, Width * PixelRow.BytesOf(Bits)));

    /// <summary>Bits of a pixel that are a colour.</summary>
    internal int Depth => Bits == 32 ? 24 : Bits;

    /// <summary>The colours for pixels of 8 bits.</summary>
    internal void ReadColors(Span<uint> colors)
    {
        for (int i = 0; i < colors.Length; i++)
            colors[i] = ((uint)_palette[3 * i] << 16) | ((uint)_palette[(3 * i) + 1] << 8) | _palette[(3 * i) + 2];
    }

    internal uint ReadStored(uint number) => number switch
    {
        >= PaletteBase and < ScratchBase => _palette[number - PaletteBase],
        >= ScratchBase and < ScratchBase + ScratchCount => _scratch[number - ScratchBase],
        _ => 0,
    };

    internal void Write(uint number, uint value)
    {
        switch (number)
        {
            // A driver writes the version that it knows and reads whether the adapter does.
            case Id when value is >= OldestId and <= NewestId:
                Version = value;
                break;
            case EnableNumber:
                Enable = value & (Enabled | Hidden);
                break;
            case WidthNumber when value is > 0 and <= MaximumWidth:
                Width = (int)value;
                break;
            case HeightNumber when value is > 0 and <= MaximumHeight:
                Height = (int)value;
                break;
            case BitsNumber when value is 8 or 15 or 16 or 24 or 32:
                Bits = (int)value;
                break;
            case ConfigDone:
                IsConfigured = value != 0;
                break;
            case GuestId:
                Guest = value;
                break;
            case CursorId:
                Cursor = value;
                break;
            case PitchLock when value <= LongestPitch:
                LockedPitch = (int)value;
                break;
            case InterruptMask:
                Interrupts = value & 7;
                break;
            case Traces:
                HasTraces = value != 0 ? 1u : 0;
                break;
            case >= PaletteBase and < ScratchBase:
                _palette[number - PaletteBase] = (byte)value;
                break;
            case >= ScratchBase and < ScratchBase + ScratchCount:
                _scratch[number - ScratchBase] = value;
                break;
        }
    }

    internal void Reset()
    {
        (Index, Version, Enable, IsConfigured, Guest, Cursor, HasTraces, Interrupts) = (0, NewestId, 0, false, 0, 0, 1, 0);
        (Width, Height, Bits, LockedPitch) = (1024, 768, 32, 0);
        Array.Clear(_palette);
        Array.Clear(_scratch);
    }

    internal void Save(StateWriter writer)
    {
        writer.Write(Index);
        foreach (uint value in (ReadOnlySpan<uint>)[Version, Enable, (uint)Width, (uint)Height, (uint)Bits, IsConfigured ? 1u : 0, Guest, Cursor, (uint)LockedPitch, Interrupts, HasTraces])
            writer.Write(value);
        writer.Write(_palette.AsSpan());
        foreach (uint value in _scratch)
            writer.Write(value);
    }

    /// <summary>Reads what <see cref="Save"/> wrote, as if a driver wrote it: what can't be becomes what it is after a reset.</summary>
    internal static SvgaRegisters Read(StateReader reader, string section)
    {
        var registers = new SvgaRegisters { Index = reader.ReadUInt32() };
        foreach (int number in (ReadOnlySpan<int>)[Id, EnableNumber, WidthNumber, HeightNumber, BitsNumber, ConfigDone, GuestId, CursorId, PitchLock, InterruptMask, Traces])
            registers.Write((uint)number, reader.ReadUInt32());
        StateCheck.Length(section, "the palette", reader.ReadBytes(registers._palette.Length), registers._palette.Length).CopyTo(registers._palette, 0);
        for (int i = 0; i < ScratchCount; i++)
            registers._scratch[i] = reader.ReadUInt32();
        return registers;
    }
}
