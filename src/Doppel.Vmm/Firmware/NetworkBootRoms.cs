using Doppel.Vmm.Boot;

namespace Doppel.Vmm.Firmware;

/// <summary>
/// The ROMs by which firmware boots from network cards: iPXE's, from the host's package. Cards have them only where the user
/// boots from the network, since every ROM takes its time at each boot.
/// </summary>
internal static class NetworkBootRoms
{
    private const string Package = "ipxe-qemu";

    private static readonly string[] Folders = ["/usr/lib/ipxe/qemu", "/usr/share/ipxe/qemu", "/usr/share/qemu"];

    /// <summary>Finds and reads what a machine needs.</summary>
    /// <exception cref="BootException">It isn't there.</exception>
    internal static IReadOnlyDictionary<NetworkModel, byte[]> Read(MachineSpec spec)
    {
        var roms = new Dictionary<NetworkModel, byte[]>();
        if (spec.Firmware == FirmwareKind.None || spec.FirmwareFile is not null || !spec.BootOrder.Contains(BootDevice.Net))
            return roms;
        foreach (NetworkModel model in spec.Networks.Select(network => network.Model).Distinct())
        {
            // UEFI brings a driver of its own for virtio; a card on ISA has only a socket.
            if (model == NetworkModel.Ne2000)
                continue;
            if (spec.Firmware == FirmwareKind.Uefi && model == NetworkModel.Virtio)
                continue;
            string name = $"{(spec.Firmware == FirmwareKind.Uefi ? "efi" : "pxe")}-{NameOf(model)}.rom";
            string path = Folders.Select(folder => Path.Combine(folder, name)).FirstOrDefault(File.Exists)
                ?? throw new BootException(BootError.Unreadable, $"--boot net: this host has no {name}; Debian's package {Package} would be right");
            using BootFile file = BootFile.Read(path, "network boot ROM");
            roms[model] = file.Bytes.ToArray();
        }

        return roms;
    }

    private static string NameOf(NetworkModel model) => model switch
    {
        NetworkModel.E1000 => "e1000",
        NetworkModel.Rtl8139 => "rtl8139",
        _ => "virtio",
    };
}
