using Doppel.Machine.State;

namespace Doppel.Devices.Display.Vga;

/// <summary>The registers of a VGA (IBM VGA technical reference) and those of the Bochs VBE extensions. Plain data.</summary>
internal sealed class VgaRegisters
{
    internal const int SequencerCount = 5, CrtcCount = 25, GraphicsCount = 9, AttributeCount = 21;

    internal byte Misc;
    internal byte FeatureControl;
    internal byte Enable = 1;
    internal byte SequencerIndex;
    internal byte CrtcIndex;
    internal byte GraphicsIndex;
    internal byte AttributeIndex;
    internal bool AttributeExpectsData;
    internal byte PelMask = 0xFF;
    internal byte DacReadIndex;
    internal byte DacWriteIndex;
    internal byte DacComponent;
    internal bool DacReads;
    internal byte DacRed;
    internal byte DacGreen;
    internal uint Latch;

    internal byte[] Sequencer { get; } = new byte[SequencerCount];

    internal byte[] Crtc { get; } = new byte[CrtcCount];

    internal byte[] Graphics { get; } = new byte[GraphicsCount];

    internal byte[] Attribute { get; } = new byte[AttributeCount];

    /// <summary>Red, green and blue of 256 colours, 6 or 8 bits each.</summary>
    internal byte[] Palette { get; } = new byte[768];

    internal BochsVbe Vbe { get; init; } = new();

    /// <summary>True in graphics modes (GR6 bit 0).</summary>
    internal bool IsGraphics => (Graphics[6] & 1) != 0;

    /// <summary>Characters of a line.</summary>
    internal int Columns => Crtc[1] + 1;

    /// <summary>The line behind the last that is shown (CR12 and its bits in CR7).</summary>
    internal int VerticalDisplayEnd => (Crtc[0x12] | ((Crtc[7] & 2) << 7) | ((Crtc[7] & 0x40) << 3)) + 1;

    /// <summary>The line behind which the second part of a split screen begins.</summary>
    internal int LineCompare => Crtc[0x18] | ((Crtc[7] & 0x10) << 4) | ((Crtc[9] & 0x40) << 3);

    /// <summary>Address of the first group of four planes that is shown.</summary>
    internal int StartAddress => (Crtc[0x0C] << 8) | Crtc[0x0D];

    /// <summary>Colour of the DAC as 00RRGGBBh.</summary>
    internal uint Color(int index)
    {
        index &= PelMask;
        ReadOnlySpan<byte> entry = Palette.AsSpan(3 * index, 3);
        return Vbe.HasWideDac
            ? ((uint)entry[0] << 16) | ((uint)entry[1] << 8) | entry[2]
            : (Widen(entry[0]) << 16) | (Widen(entry[1]) << 8) | Widen(entry[2]);
    }

    /// <summary>DAC index of one of the 16 colours of text and planar modes (attribute controller, registers 0 to Fh, 10h, 12h and 14h).</summary>
    internal int AttributeColor(int color)
    {
        int value = Attribute[color & Attribute[0x12] & 15];
        if ((Attribute[0x10] & 0x80) != 0)
            value = (value & 0x0F) | ((Attribute[0x14] & 3) << 4);
        return (value & 0x3F) | ((Attribute[0x14] & 0x0C) << 4);
    }

    internal VgaRegisters Clone()
    {
        var copy = new VgaRegisters { Vbe = Vbe.Clone() };
        copy.CopyFrom(this);
        return copy;
    }

    internal void CopyFrom(VgaRegisters other)
    {
        (Misc, FeatureControl, Enable) = (other.Misc, other.FeatureControl, other.Enable);
        (SequencerIndex, CrtcIndex, GraphicsIndex) = (other.SequencerIndex, other.CrtcIndex, other.GraphicsIndex);
        (AttributeIndex, AttributeExpectsData, PelMask) = (other.AttributeIndex, other.AttributeExpectsData, other.PelMask);
        (DacReadIndex, DacWriteIndex, DacComponent, DacReads) = (other.DacReadIndex, other.DacWriteIndex, other.DacComponent, other.DacReads);
        (DacRed, DacGreen, Latch) = (other.DacRed, other.DacGreen, other.Latch);
        other.Sequencer.CopyTo(Sequencer, 0);
        other.Crtc.CopyTo(Crtc, 0);
        other.Graphics.CopyTo(Graphics, 0);
        other.Attribute.CopyTo(Attribute, 0);
        other.Palette.CopyTo(Palette, 0);
        Vbe.CopyFrom(other.Vbe);
    }

    internal void Save(StateWriter writer)
    {
        writer.Write(Misc);
        writer.Write(FeatureControl);
        writer.Write(Enable);
        writer.Write(SequencerIndex);
        writer.Write(CrtcIndex);
        writer.Write(GraphicsIndex);
        writer.Write(AttributeIndex);
        writer.Write(AttributeExpectsData);
        writer.Write(PelMask);
        writer.Write(DacReadIndex);
        writer.Write(DacWriteIndex);
        writer.Write(DacComponent);
        writer.Write(DacReads);
        writer.Write(DacRed);
        writer.Write(DacGreen);
        writer.Write(Latch);
        writer.Write(Sequencer.AsSpan());
        writer.Write(Crtc.AsSpan());
        writer.Write(Graphics.AsSpan());
        writer.Write(Attribute.AsSpan());
        writer.Write(Palette.AsSpan());
        Vbe.Save(writer);
    }

    internal static VgaRegisters Read(StateReader reader, string section, int memory)
    {
        var read = new VgaRegisters { Vbe = new BochsVbe(memory) };
        read.Misc = reader.ReadByte();
        read.FeatureControl = reader.ReadByte();
        read.Enable = reader.ReadByte();
        read.SequencerIndex = reader.ReadByte();
        read.CrtcIndex = reader.ReadByte();
        read.GraphicsIndex = reader.ReadByte();
        read.AttributeIndex = reader.ReadByte();
        read.AttributeExpectsData = reader.ReadBool();
        read.PelMask = reader.ReadByte();
        read.DacReadIndex = reader.ReadByte();
        read.DacWriteIndex = reader.ReadByte();
        read.DacComponent = (byte)StateCheck.Range(section, "colour component", reader.ReadByte(), 0, 2);
        read.DacReads = reader.ReadBool();
        read.DacRed = reader.ReadByte();
        read.DacGreen = reader.ReadByte();
        read.Latch = reader.ReadUInt32();
        StateCheck.Length(section, "sequencer", reader.ReadBytes(SequencerCount), SequencerCount).CopyTo(read.Sequencer, 0);
        StateCheck.Length(section, "CRTC", reader.ReadBytes(CrtcCount), CrtcCount).CopyTo(read.Crtc, 0);
        StateCheck.Length(section, "graphics controller", reader.ReadBytes(GraphicsCount), GraphicsCount).CopyTo(read.Graphics, 0);
        StateCheck.Length(section, "attribute controller", reader.ReadBytes(AttributeCount), AttributeCount).CopyTo(read.Attribute, 0);
        StateCheck.Length(section, "palette", reader.ReadBytes(768), 768).CopyTo(read.Palette, 0);
        read.Vbe.Restore(reader, section);
        return read;
    }

    private static uint Widen(byte six) => ((uint)(six & 0x3F) << 2) | ((uint)(six & 0x3F) >> 4);
}
