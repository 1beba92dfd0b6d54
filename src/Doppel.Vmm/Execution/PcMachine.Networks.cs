using Doppel.Devices;
using Doppel.Devices.Cards;
using Doppel.Devices.Network;
using Doppel.Devices.Pci;
using Doppel.Devices.Virtio;
using Doppel.Machine.Interrupts;
using Doppel.Vmm.Boot;

namespace Doppel.Vmm.Execution;

/// <content>The network cards.</content>
internal sealed partial class PcMachine
{
    private readonly List<INetworkCard> _networkCards = [];

    /// <summary>The network cards, in the order of the specification.</summary>
    internal IReadOnlyList<INetworkCard> NetworkCards => _networkCards;

    private void AddNetworks(IReadOnlyList<MachineNetwork> networks, ApicBus messages, MachineBoot boot)
    {
        const int MostPairs = 4;
        for (int i = 0; i < networks.Count; i++)
        {
            MachineNetwork network = networks[i];
            byte[]? rom = boot.NetworkRoms.GetValueOrDefault(network.Spec.Model);
            if (network.Spec.Model != NetworkModel.Ne2000)
                AddBootPath(BootDevice.Net, "");
            switch (network.Spec.Model)
            {
                case NetworkModel.E1000:
                    AddCard(new E1000($"e1000-{i}", network.Backend, network.Address, Platform, Clock, Mmio, Ports), rom);
                    break;
                case NetworkModel.Rtl8139:
                    AddCard(new Rtl8139($"rtl8139-{i}", network.Backend, network.Address, Platform, Clock, Mmio, Ports), rom);
                    break;
                case NetworkModel.Ne2000:
                    Ne2000 old = Add(new Ne2000($"ne2000-{i}", network.Backend, network.Address, Platform, _wires.Line(Ne2000.Irq)));
                    _workers.Add(old);
                    _networkCards.Add(old);
                    break;
                default:
                    int pairs = network.Spec.Queues ?? Math.Min(Cpus.Count, MostPairs);
                    var card = new VirtioNet($"virtio-net{i}", network.Backend, network.Address, Platform, pairs, network.Spec.Mtu);
                    AddVirtio(card, VirtioNet.PciClass, messages, rom);
                    _networkCards.Add(card);
                    break;
            }
        }
    }

    private void AddCard<T>(T card, byte[]? rom)
        where T : PciFunction, INetworkCard, IBackgroundDevice, IDisposable
    {
        if (rom is not null)
            card.AddRom(rom);
        AddFunction(card);
        _networkCards.Add(card);
    }
}
