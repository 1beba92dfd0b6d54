using Doppel.Devices.Storage.Images;
using Doppel.Vmm;

namespace Doppel.Cli.Commands.Machines;

/// <summary>The sockets that a machine's process needs once it runs.</summary>
internal static class WorkerSockets
{
    private const int Unix = 1, Internet = 2, Internet6 = 10;

    /// <summary>Their families: Internet for a user's network, disks of other hosts and a move to another host; Unix for a switch and for vsock.</summary>
    internal static IReadOnlyList<int> FamiliesOf(MachineSpec spec)
    {
        bool needsUnix = spec.Vsock is not null || spec.Networks.Any(network => network.Kind == NetworkKind.Switch) || spec.Disks.Any(disk => Overlays.IsAddress(disk.Path));
        return needsUnix ? [Internet, Internet6, Unix] : [Internet, Internet6];
    }
}
