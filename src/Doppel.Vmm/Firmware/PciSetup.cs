using Doppel.Devices.Ide;
using Doppel.Devices.Pci;
using Doppel.Machine.Bus;

namespace Doppel.Vmm.Firmware;

/// <summary>
/// Gives PCI functions their addresses and interrupts as a PC's firmware does, for guests that take what they find. A
/// guest may move everything afterwards.
/// </summary>
public static class PciSetup
{
    private const ulong FirstPort = 0xC000;
    private const ulong PortEnd = 0x1_0000;
    private const uint DecodePortsAndMemory = 3;

    /// <summary>Assigns base addresses and interrupt lines, turns decoding on, and makes the shared 8259 inputs level-triggered.</summary>
    /// <exception cref="InvalidOperationException">The registers don't fit into the windows.</exception>
    public static void Assign(PciBus bus, IoBus ports)
    {
        ArgumentNullException.ThrowIfNull(bus);
        ArgumentNullException.ThrowIfNull(ports);
        PciFunction[] functions = [.. bus.Functions.Select(f => f.Function).OfType<PciFunction>()];
        ulong nextPort = FirstPort, nextMemory = PcMemoryMap.PciWindow;
        // Largest first: then each is aligned to its size without gaps.
        foreach ((PciFunction function, PciBar bar) in functions.SelectMany(f => f.Bars.Select(b => (f, b))).OrderByDescending(x => x.b.Size))
        {
            ulong address = bar.IsPort
                ? Take(ref nextPort, bar.Size, PortEnd, function, bar)
                : Take(ref nextMemory, bar.Size, PcMemoryMap.PciEcam, function, bar);
            function.WriteConfig(bar.Offset, 4, (uint)address);
            if (bar.Is64Bit)
                function.WriteConfig(bar.Offset + 4, 4, 0);
        }

        foreach ((PciAddress address, IPciFunction function) in bus.Functions)
        {
            if (function is not PciFunction device)
                continue;
            if (device.InterruptPin > 0)
                device.WriteConfig(0x3C, 1, (uint)PcPorts.PciLinkIrq(bus.LinkOf(address.Device, device.InterruptPin)));
            device.WriteConfig(PciConfigSpace.Command, 2, DecodePortsAndMemory);
            if (device is PiixIde)
            {
                // Both channels are decoded; without that, drivers take them for turned off.
                device.WriteConfig(PiixIde.FirstTiming, 2, 0x8000);
                device.WriteConfig(PiixIde.FirstTiming + 2, 2, 0x8000);
            }
        }

        for (int link = 0; link < PcPorts.PciGsiCount; link++)
        {
            int irq = PcPorts.PciLinkIrq(link);
            ushort port = (ushort)(PcPorts.Elcr + (irq / 8));
            ports.Write(port, 1, ports.Read(port, 1) | (1u << (irq % 8)));
        }
    }

    private static ulong Take(ref ulong next, ulong size, ulong end, PciFunction function, PciBar bar)
    {
        ulong address = (next + size - 1) & ~(size - 1);
        if (size > end || address > end - size)
            throw new InvalidOperationException($"{function.SectionName}: register {bar.Index} of 0x{size:x} bytes does not fit into the window behind 0x{next:x}");
        next = address + size;
        return address;
    }
}
