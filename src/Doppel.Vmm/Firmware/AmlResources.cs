namespace Doppel.Vmm.Firmware;

/// <summary>Builds a resource template (ACPI 6.4, 6.4): the ports, interrupts and addresses of a device. Not thread-safe.</summary>
public sealed class AmlResources
{
    private const int MinimumAndMaximumFixed = 0x0C;
    private readonly TableWriter _bytes = new();

    /// <summary>A range of ports at a fixed place, decoded with 16 bits.</summary>
    public AmlResources Io(int port, int length)
    {
        _ = _bytes.U8(0x47).U8(1).U16(port).U16(port).U8(1).U8(length);
        return this;
    }

    /// <summary>An ISA interrupt: edge-triggered, active high, not shared.</summary>
    public AmlResources Irq(int irq)
    {
        _ = _bytes.U8(0x22).U16(1 << irq);
        return this;
    }

    /// <summary>A channel of the ISA DMA controllers: 8 bits at a time, not as bus master, at the channel's own speed.</summary>
    public AmlResources Dma(int channel)
    {
        _ = _bytes.U8(0x2A).U8(1 << channel).U8(0);
        return this;
    }

    /// <summary>A global system interrupt: level-triggered, active high, shared.</summary>
    public AmlResources SharedInterrupt(int number)
    {
        const int ConsumerLevelHighShared = 0x09;
        _ = _bytes.U8(0x89).U16(6).U8(ConsumerLevelHighShared).U8(1).U32((uint)number);
        return this;
    }

    /// <summary>A fixed range of 32-bit addresses that the device decodes.</summary>
    public AmlResources Memory32Fixed(uint start, uint length)
    {
        _ = _bytes.U8(0x86).U16(9).U8(1).U32(start).U32(length);
        return this;
    }

    /// <summary>Bus numbers behind a bridge.</summary>
    public AmlResources BusNumbers(int first, int last) => Word(2, 0, first, last);

    /// <summary>Ports that a bridge hands on.</summary>
    public AmlResources IoWindow(int first, int last) => Word(1, 3, first, last);

    /// <summary>32-bit addresses that a bridge hands on.</summary>
    /// <param name="first">First address.</param>
    /// <param name="last">Last address.</param>
    /// <param name="isCacheable">True for memory without side effects, such as a frame buffer.</param>
    public AmlResources MemoryWindow(uint first, uint last, bool isCacheable)
    {
        _ = _bytes.U8(0x87).U16(0x17).U8(0).U8(MinimumAndMaximumFixed).U8(isCacheable ? 3 : 1)
            .U32(0).U32(first).U32(last).U32(0).U32(last - first + 1);
        return this;
    }

    /// <summary>The template as a buffer term.</summary>
    public byte[] ToTerm() => AmlBuilder.Buffer([.. _bytes.ToArray(), 0x79, 0]);

    private AmlResources Word(int type, int typeFlags, int first, int last)
    {
        _ = _bytes.U8(0x88).U16(0x0D).U8(type).U8(MinimumAndMaximumFixed).U8(typeFlags)
            .U16(0).U16(first).U16(last).U16(0).U16(last - first + 1);
        return this;
    }
}
