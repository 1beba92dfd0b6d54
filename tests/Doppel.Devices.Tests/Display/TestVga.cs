using Doppel.Devices.Display;
using Doppel.Devices.Display.Vga;
using Doppel.Machine.Memory;
using Doppel.Machine.State;

namespace Doppel.Devices.Tests.Display;

/// <summary>A VGA without a machine, driven by its ports and windows, and its picture.</summary>
internal sealed class TestVga : IDisposable
{
    // IBM VGA technical reference, "Video mode tables": sequencer, CRTC, graphics and attribute controllers of modes 3, 12h and 13h.
    private static readonly byte[] TextCrtc = [0x5F, 0x4F, 0x50, 0x82, 0x55, 0x81, 0xBF, 0x1F, 0x00, 0x4F, 0x0D, 0x0E, 0, 0, 0, 0, 0x9C, 0x8E, 0x8F, 0x28, 0x1F, 0x96, 0xB9, 0xA3, 0xFF];
    private static readonly byte[] Mode12Crtc = [0x5F, 0x4F, 0x50, 0x82, 0x54, 0x80, 0x0B, 0x3E, 0x00, 0x40, 0, 0, 0, 0, 0, 0, 0xEA, 0x8C, 0xDF, 0x28, 0x00, 0xE7, 0x04, 0xE3, 0xFF];
    private static readonly byte[] Mode13Crtc = [0x5F, 0x4F, 0x50, 0x82, 0x54, 0x80, 0xBF, 0x1F, 0x00, 0x41, 0, 0, 0, 0, 0, 0, 0x9C, 0x8E, 0x8F, 0x28, 0x40, 0x96, 0xB9, 0xA3, 0xFF];
    private readonly DamageRegion _damage = new();
    private bool _isNew = true;

    private readonly PhysicalAddressSpace? _physical;
    private readonly DeviceRam? _text;

    /// <summary>Creates the adapter as after power-on.</summary>
    /// <param name="physical">Where its windows may be shown as memory; null for windows on the bus only.</param>
    internal TestVga(PhysicalAddressSpace? physical = null)
    {
        _physical = physical;
        Memory = new DeviceRam("test-vga", 4 << 20, physical);
        _text = physical is null ? null : new DeviceRam("test-text", VgaController.TextWindowLength, physical);
        Vga = new VgaController(Memory, Clock, _text);
    }

    internal FakeClock Clock { get; } = new();

    internal DeviceRam Memory { get; }

    internal VgaController Vga { get; }

    internal PixelSurface Surface { get; } = new();

    public void Dispose()
    {
        Memory.Dispose();
        _text?.Dispose();
    }

    internal void Out(int port, int value) => Vga.Out(port, value);

    internal byte In(int port) => Vga.In(port);

    internal void OutIndexed(int port, int index, int value)
    {
        Out(port, index);
        Out(port + 1, value);
    }

    internal byte InIndexed(int port, int index)
    {
        Out(port, index);
        return In(port + 1);
    }

    internal void SetAttribute(int index, int value)
    {
        _ = In(0x3DA);
        Out(0x3C0, index);
        Out(0x3C0, value);
        Out(0x3C0, 0x20);
    }

    internal void SetVbe(int index, int value)
    {
        IoRange range = Vga.Ports.Single(r => r.Start == 0x1CE);
        range.Region.Write(0, 2, (ulong)index);
        range.Region.Write(1, 2, (ulong)value);
    }

    internal int GetVbe(int index)
    {
        IoRange range = Vga.Ports.Single(r => r.Start == 0x1CE);
        range.Region.Write(0, 2, (ulong)index);
        return (int)range.Region.Read(1, 2);
    }

    internal void Poke(ulong address, byte value)
    {
        if (_physical?.Memory.TryWrite(address, [value]) != true)
            Vga.Memory[0].Region.Write(address - VgaController.WindowStart, 1, value);
    }

    internal byte Peek(ulong address)
    {
        Span<byte> value = [0];
        return _physical?.Memory.TryRead(address, value) == true ? value[0] : (byte)Vga.Memory[0].Region.Read(address - VgaController.WindowStart, 1);
    }

    /// <summary>What has changed on the screen since the last call.</summary>
    internal List<PixelRectangle> Render()
    {
        Vga.Capture();
        Vga.Render(Surface, _damage, _isNew);
        _isNew = false;
        return _damage.Take(Surface.Bounds);
    }

    internal void SetTextMode() => SetMode(0x67, [3, 0, 3, 0, 2], TextCrtc, [0, 0, 0, 0, 0, 0x10, 0x0E, 0, 0xFF], [0x0C, 0, 0x0F, 8, 0]);

    internal void SetMode12() => SetMode(0xE3, [3, 1, 0x0F, 0, 6], Mode12Crtc, [0, 0, 0, 0, 0, 0, 5, 0x0F, 0xFF], [1, 0, 0x0F, 0, 0]);

    internal void SetMode13() => SetMode(0x63, [3, 1, 0x0F, 0, 0x0E], Mode13Crtc, [0, 0, 0, 0, 0, 0x40, 5, 0x0F, 0xFF], [0x41, 0, 0x0F, 0, 0]);

    /// <summary>Colour i has red i, green 63 - i and blue 2i, each of 6 bits.</summary>
    internal void SetPalette()
    {
        Out(0x3C8, 0);
        for (int i = 0; i < 256; i++)
        {
            Out(0x3C9, i & 63);
            Out(0x3C9, 63 - (i & 63));
            Out(0x3C9, (2 * i) & 63);
        }
    }

    internal static uint Color(int index)
    {
        static uint Wide(int six) => (uint)(((six & 63) << 2) | ((six & 63) >> 4));
        return (Wide(index) << 16) | (Wide(63 - (index & 63)) << 8) | Wide(2 * index);
    }

    internal byte[] Save()
    {
        var writer = new StateWriter();
        Vga.Save(writer);
        return writer.ToArray();
    }

    internal void Restore(byte[] state) => Vga.Restore(new StateReader(state), Vga.SectionVersion);

    private void SetMode(byte misc, byte[] sequencer, byte[] crtc, byte[] graphics, byte[] attribute)
    {
        Out(0x3C2, misc);
        for (int i = 0; i < sequencer.Length; i++)
            OutIndexed(0x3C4, i, sequencer[i]);
        OutIndexed(0x3D4, 0x11, 0);
        for (int i = 0; i < crtc.Length; i++)
            OutIndexed(0x3D4, i, crtc[i]);
        for (int i = 0; i < graphics.Length; i++)
            OutIndexed(0x3CE, i, graphics[i]);
        for (int i = 0; i < 16; i++)
            SetAttribute(i, i);
        for (int i = 0; i < attribute.Length; i++)
            SetAttribute(0x10 + i, attribute[i]);
        SetPalette();
        Out(0x3C6, 0xFF);
    }
}
