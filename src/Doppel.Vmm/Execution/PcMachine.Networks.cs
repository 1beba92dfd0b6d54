using Doppel.Devices.Cards;
using Doppel.Devices.Network;
using Doppel.Devices.Virtio;
using Doppel.Machine.Interrupts;

namespace Doppel.Vmm.Execution;

/// <content>The network cards.</content>
internal sealed partial class PcMachine
{
    private readonly List<INetworkCard> _networkCards = [];

    /// <summary>The network cards, in the order of the specification.</summary>
    internal IReadOnlyList<INetworkCard> NetworkCards => _networkCards;

    private void AddNetworks(IReadOnlyList<MachineNetwork> networks, ApicBus messages)
    {
        const int MostPairs = 4;
        for (int i = 0; i < networks.Count; i++)
        {
            MachineNetwork network = networks[i];
            if (network.Spec.Model == NetworkModel.E1000)
            {
                var gigabit = new E1000($"e1000-{i}", network.Backend, network.Address, Platform, Clock, Mmio, Ports);
                AddBootPath(BootDevice.Net, "");
                AddFunction(gigabit);
                _networkCards.Add(gigabit);
                continue;
            }

            int pairs = network.Spec.Queues ?? Math.Min(Cpus.Count, MostPairs);
            var card = new VirtioNet($"virtio-net{i}", network.Backend, network.Address, Platform, pairs, network.Spec.Mtu);
            AddBootPath(BootDevice.Net, "");
            AddVirtio(card, VirtioNet.PciClass, messages);
            _networkCards.Add(card);
        }
    }
}
