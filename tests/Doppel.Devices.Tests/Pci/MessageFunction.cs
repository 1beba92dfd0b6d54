using Doppel.Devices.Pci;
using Doppel.Machine.Bus;
using Doppel.Machine.Interrupts;

namespace Doppel.Devices.Tests.Pci;

/// <summary>A function with MSI-X and MSI, and an INTx pin for guests that use neither.</summary>
public sealed class MessageFunction : PciFunction
{
    public MessageFunction(IoBus ports, IoBus memory, IMessageSink messages, int msixVectors = 70, int msiVectors = 4, string name = "pci-messages")
        : base(name, new PciConfigSpace(0x1AF4, 0x1005, 0x00FF00), ports, memory)
    {
        InterruptPin = 1;
        AddMsix(messages, msixVectors, 2);
        AddMsi(messages, msiVectors);
        Extra = new PciBar(0, 4096, new BytePorts("extra", 4096, _ => 0x44, (_, _) => { }));
        AddBar(Extra);
    }

    public PciBar Extra { get; }
}
