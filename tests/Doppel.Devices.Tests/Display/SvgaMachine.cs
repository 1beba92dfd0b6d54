using Doppel.Devices.Display;
using Doppel.Devices.Display.Svga;
using Doppel.Devices.Display.Vga;
using Doppel.Devices.Pci;
using Doppel.Machine.Bus;
using Doppel.Machine.Memory;
using Doppel.Machine.State;

namespace Doppel.Devices.Tests.Display;

/// <summary>An SVGA II without a machine, driven by its ports, its memory and its ring as a driver does.</summary>
internal sealed class SvgaMachine : IDisposable
{
    internal const int RingStart = 4096, RingEnd = 256 << 10;
    private readonly FakeLine _line = new();
    private readonly DamageRegion _damage = new();
    private bool _isNew = true;

    internal SvgaMachine()
    {
        var gate = new Lock();
        Memory = new DeviceRam("test-svga", 16 << 20, null);
        Vga = new VgaController(Memory, Clock);
        Adapter = new VmwareSvga(Vga, Memory, Clock, new IoBus("mmio", 1UL << 36, gate), new IoBus("port", 65536, gate));
        new PciBus(_ => _line).Add(new PciAddress(0, 2, 0), Adapter);
        Ports = Adapter.Bars[0].Region;
        Ring = Adapter.Bars[2].Region;
    }

    internal FakeClock Clock { get; } = new();

    internal DeviceRam Memory { get; }

    internal VgaController Vga { get; }

    internal VmwareSvga Adapter { get; }

    internal IIoRegion Ports { get; }

    internal IIoRegion Ring { get; }

    internal PixelSurface Surface { get; } = new();

    internal bool Interrupt => _line.Level;

    internal uint this[int register]
    {
        get
        {
            Ports.Write(0, 4, (uint)register);
            return (uint)Ports.Read(1, 4);
        }
        set
        {
            Ports.Write(0, 4, (uint)register);
            Ports.Write(1, 4, value);
        }
    }

    public void Dispose()
    {
        Adapter.Dispose();
        Memory.Dispose();
    }

    /// <summary>Brings the adapter up with a mode and a ring, behind as many registers as a driver wants.</summary>
    internal void Start(int width, int height, int bits = 32, int ringStart = RingStart)
    {
        this[0] = 0x9000_0002;
        Assert.Equal(0x9000_0002u, this[0]);
        (this[2], this[3], this[7]) = ((uint)width, (uint)height, (uint)bits);
        this[1] = 1;
        foreach ((int word, int value) in (ReadOnlySpan<(int, int)>)[(0, ringStart), (1, RingEnd), (2, ringStart), (3, ringStart)])
            Ring.Write((ulong)word * 4, 4, (uint)value);
        this[20] = 1;
    }

    internal uint Word(int index) => (uint)Ring.Read((ulong)index * 4, 4);

    internal void SetWord(int index, uint value) => Ring.Write((ulong)index * 4, 4, value);

    /// <summary>Puts words into the ring and says so, all at once.</summary>
    internal void Send(params uint[] words)
    {
        uint next = Word(2);
        foreach (uint word in words)
        {
            Ring.Write(next, 4, word);
            next += 4;
            if (next == Word(1))
                next = Word(0);
        }

        SetWord(2, next);
    }

    /// <summary>Brings the surface up to date.</summary>
    /// <returns>What has changed.</returns>
    internal List<PixelRectangle> Render()
    {
        Adapter.Capture();
        Adapter.Render(Surface, _damage, _isNew);
        _isNew = false;
        return _damage.Take(Surface.Bounds);
    }

    internal void Poke(int offset, params byte[] bytes)
    {
        IIoRegion memory = Adapter.Bars[1].Region;
        for (int i = 0; i < bytes.Length; i++)
            memory.Write((ulong)(offset + i), 1, bytes[i]);
    }

    internal byte[] Save()
    {
        var writer = new StateWriter();
        Adapter.Save(writer);
        return writer.ToArray();
    }
}
