using Doppel.Devices.Pci;
using Doppel.Machine.Bus;

namespace Doppel.Devices.Tests.Conformance;

/// <summary>A function with one register of each kind and a capability, as a derived device would declare them.</summary>
public sealed class SamplePciFunction : PciFunction
{
    public SamplePciFunction(IoBus ports, IoBus memory)
        : base("pci-sample", new PciConfigSpace(0x1AF4, 0x1005, 0x00FF00), ports, memory)
    {
        Ports4 = new PciBar(0, 32, new BytePorts("sample-ports", 32, _ => 0x11, (_, _) => { }), IsPort: true);
        Memory32 = new PciBar(1, 4096, new BytePorts("sample-memory", 4096, _ => 0x22, (_, _) => { }));
        Memory64 = new PciBar(2, 1 << 16, new BytePorts("sample-memory64", 1 << 16, _ => 0x33, (_, _) => { }), Is64Bit: true, IsPrefetchable: true);
        AddBar(Ports4);
        AddBar(Memory32);
        AddBar(Memory64);
        InterruptPin = 1;
        Capability = Config.AddCapability(0x09, 16);
    }

    public PciBar Ports4 { get; }

    public PciBar Memory32 { get; }

    public PciBar Memory64 { get; }

    public int Capability { get; }
}
