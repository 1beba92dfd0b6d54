using System.Globalization;
using Doppel.Devices.Network;
using Doppel.Host;
using Doppel.Vmm.Control;

namespace Doppel.Vmm.Execution;

/// <summary>A network whose back end is open; it outlives the resets of its machine, and so do its connections.</summary>
/// <param name="Spec">What was asked for.</param>
/// <param name="Address">The card's address.</param>
/// <param name="Backend">What the card's cable leads to.</param>
internal sealed record MachineNetwork(NetworkSpec Spec, MacAddress Address, INetworkBackend Backend)
{
    private const int MostCandidates = 1000;

    /// <summary>Opens the networks of a machine.</summary>
    /// <exception cref="NetworkException">One can't be had; none stays open.</exception>
    internal static IReadOnlyList<MachineNetwork> OpenAll(MachineSpec spec)
    {
        var networks = new List<MachineNetwork>();
        try
        {
            for (int i = 0; i < spec.Networks.Count; i++)
            {
                MachineNetwork network = Open(spec.Networks[i], string.Create(CultureInfo.InvariantCulture, $"{spec.Name} {i}"));
                networks.Add(network);
                network.Limit(network.Spec.BytesPerSecond);
            }

            return networks;
        }
        catch
        {
            CloseAll(networks);
            throw;
        }
    }

    /// <summary>Closes networks. No machine uses them any more.</summary>
    internal static void CloseAll(IEnumerable<MachineNetwork> networks)
    {
        foreach (MachineNetwork network in networks)
            network.Backend.Dispose();
    }

    /// <summary>Limits the bytes of frames a second, either way for itself; 0 for no limit.</summary>
    internal void Limit(ulong bytesPerSecond) => (Backend as PolledNetwork)?.Limit(bytesPerSecond);

    private static MachineNetwork Open(NetworkSpec spec, string card)
    {
        MacAddress address = spec.Mac ?? MacAddress.Derive(card);
        try
        {
            return spec.Kind switch
            {
                NetworkKind.Switch => JoinSwitch(spec, card),
                NetworkKind.Tap => new MachineNetwork(spec, address, new TapNetwork(spec.Name)),
                _ when !UserNetwork.IsAvailable => throw new NetworkException($"--net {spec}: libslirp is missing; install it (Debian: apt install {UserNetwork.Package}), or --net none would be right"),
                _ => new MachineNetwork(spec, address, new UserNetwork(spec.Forwards, spec.Mtu ?? UserNetwork.DefaultMtu, spec.BootFile)),
            };
        }
        catch (Exception e) when (e is not NetworkException and (IOException or InvalidOperationException or UnauthorizedAccessException))
        {
            string hint = (spec.Kind, e) switch
            {
                (NetworkKind.Tap, HostException) => $"; an interface that you may use would be right (as root: ip tuntap add {spec.Name} mode tap user NAME)",
                (NetworkKind.User, HostException { Call: "bind" }) => "; another port with -p would be right",
                _ => "",
            };
            throw new NetworkException($"--net {spec}: {e.Message}{hint}", e);
        }
    }

    private static MachineNetwork JoinSwitch(NetworkSpec spec, string card)
    {
        string parent = ControlDirectory.ForUser().Path, directory = Path.Combine(parent, "switch-" + spec.Name);
        Doppel.Host.Files.PrivateDirectory.Ensure(parent);
        if (spec.Mac is MacAddress given)
            return new MachineNetwork(spec, given, new SwitchNetwork(directory, given));
        // Machines may have the same name; their cards on one switch need addresses of their own.
        for (int i = 0; ; i++)
        {
            MacAddress address = MacAddress.Derive(i == 0 ? card : string.Create(CultureInfo.InvariantCulture, $"{card} {i}"));
            if (i < MostCandidates && SwitchNetwork.IsTaken(directory, address))
                continue;
            try
            {
                return new MachineNetwork(spec, address, new SwitchNetwork(directory, address));
            }
            catch (IOException) when (i < MostCandidates && SwitchNetwork.IsTaken(directory, address))
            {
                // Another machine was faster.
            }
        }
    }
}
