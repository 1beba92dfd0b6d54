using Doppel.Devices;
using Doppel.Devices.Pc;
using Doppel.Devices.Pci;
using Doppel.Machine.Bus;
using Doppel.Vmm.Firmware;

namespace Doppel.Vmm.Tests.Firmware;

/// <summary>What firmware gives PCI functions before the guest starts.</summary>
public sealed class PciSetupTests
{
    [Fact]
    public void Registers_lie_in_the_window_without_overlap_and_answer()
    {
        var gate = new Lock();
        var ports = new IoBus("port", 65536, gate);
        var memory = new IoBus("mmio", 1UL << 40, gate);
        var pic = new PicPair(DisconnectedLine.Instance);
        ports.Map(pic.Ports);
        var bus = new PciBus();
        Function[] functions = [.. Enumerable.Range(0, 4).Select(i => new Function(ports, memory, i))];
        for (int i = 0; i < functions.Length; i++)
            bus.Add(new PciAddress(0, (byte)(2 + i), 0), functions[i]);

        PciSetup.Assign(bus, ports);

        List<(ulong Start, ulong End)> ranges = [];
        foreach (Function function in functions)
        {
            foreach (PciBar bar in function.Bars)
            {
                ulong start = Assert.NotNull(function.MappedAt(bar));
                Assert.Equal(0UL, start % bar.Size);
                if (bar.IsPort)
                    Assert.InRange(start, 0xC000UL, 0xFFFFUL);
                else
                    ranges.Add((start, start + bar.Size));
            }
        }

        ranges.Sort();
        Assert.All(ranges.Zip(ranges.Skip(1)), pair => Assert.True(pair.First.End <= pair.Second.Start));
        Assert.True(ranges[0].Start >= PcMemoryMap.PciWindow && ranges[^1].End <= PcMemoryMap.PciEcam);
        Assert.Equal([10u, 11u, 10u, 11u], functions.Select(f => f.ReadConfig(0x3C, 1)));
        Assert.Equal(0x0Cu, ports.Read(PcPorts.Elcr + 1, 1));
    }

    [Fact]
    public void A_register_that_does_not_fit_is_refused_with_its_name()
    {
        var gate = new Lock();
        var memory = new IoBus("mmio", 1UL << 40, gate);
        var ports = new IoBus("port", 65536, gate);
        var bus = new PciBus();
        bus.Add(new PciAddress(0, 2, 0), new Function(ports, memory, 0, 1UL << 30));
        Assert.Contains("sample0: register 2", Assert.Throws<InvalidOperationException>(() => PciSetup.Assign(bus, ports)).Message, StringComparison.Ordinal);
    }

    private sealed class Function : PciFunction
    {
        internal Function(IoBus ports, IoBus memory, int number, ulong large = 1 << 16)
            : base($"sample{number}", new PciConfigSpace(0x1AF4, 0x1005, 0x00FF00), ports, memory)
        {
            InterruptPin = 1;
            AddBar(new PciBar(0, 32, Region, IsPort: true));
            AddBar(new PciBar(1, 4096, Region));
            AddBar(new PciBar(2, large, Region, Is64Bit: true));
        }

        private static BytePorts Region => new("sample", 16, _ => 0, (_, _) => { });
    }
}
