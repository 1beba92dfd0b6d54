using System.Globalization;
using Doppel.Vmm.Images;

namespace Doppel.Bench;

/// <summary>What only some rows need of a machine, in the words of the two VMMs.</summary>
/// <param name="Peer">What the network rows talk to; null for no network card.</param>
/// <param name="Disk">Path of the disk rows' raw image; null for no disk.</param>
/// <param name="System">The image of <see cref="Row.System"/>; null where that is not run.</param>
internal sealed record Equipment(NetworkPeer? Peer, string? Disk, GuestImage? System)
{
    /// <summary>Variable that tells the programs where <see cref="Peer"/> is.</summary>
    public const string ServerVariable = "BENCH_SERVER";

    /// <summary>Variable that tells the programs where the disk is.</summary>
    public const string DiskVariable = "BENCH_DISK";

    /// <summary>A machine without any of it.</summary>
    public static readonly Equipment None = new(null, null, null);

    /// <summary>What a guest is told: an unknown word of the kernel's command line becomes a variable of the first process.</summary>
    public string Append => (Peer is null ? "" : $" {ServerVariable}=10.0.2.2:{Peer.Port}") + (Disk is null ? "" : $" {DiskVariable}=/dev/vda");

    /// <summary>QEMU's arguments. Its disk goes through the host's page cache, as Doppel's does.</summary>
    public IEnumerable<string> Qemu =>
    [
        .. Peer is null ? [] : (string[])["-netdev", "user,id=net", "-device", "virtio-net-pci,netdev=net"],
        .. Disk is null ? [] : (string[])["-drive", $"file={Disk},format=raw,if=none,id=disk,cache=writeback", "-device", "virtio-blk-pci,drive=disk"],
    ];

    /// <summary>Doppel's arguments.</summary>
    public IEnumerable<string> Doppel => ["--net", Peer is null ? "none" : "user", .. Disk is null ? [] : (string[])["--disk", $"{Disk},format=raw"]];

    /// <summary>QEMU's arguments for the whole system; what it writes to its disk is thrown away.</summary>
    public IReadOnlyList<string>? QemuSystem(string memory) => System is null ? null :
    [
        "-accel", "tcg", "-m", memory, "-nodefaults", "-display", "none", "-serial", "stdio", "-no-reboot", "-kernel", System.KernelPath, "-append", SystemAppend,
        "-drive", $"file={System.DiskPath},format=raw,if=none,id=root,cache=writeback,snapshot=on", "-device", "nvme,drive=root,serial=root",
    ];

    /// <summary>Doppel's arguments for the whole system.</summary>
    public IReadOnlyList<string>? DoppelSystem(string memory, string engine, int cpus) => System is null ? null :
    [
        "run", "--kernel", System.KernelPath, "--append", SystemAppend, "--memory", memory, "--engine", engine, "--cpus", cpus.ToString(CultureInfo.InvariantCulture),
        "--serial", "stdio", "--net", "none", "--disk", $"{System.DiskPath},ephemeral,format=raw,serial=root,if=nvme",
    ];

    // Without user data "doppel run debian" leaves cloud-init out, too.
    private string SystemAppend => $"{System!.Manifest.CommandLine} cloud-init=disabled";

    /// <summary>Tells the host's own programs, which inherit the environment.</summary>
    public void TellHost()
    {
        Environment.SetEnvironmentVariable(ServerVariable, Peer is null ? null : $"127.0.0.1:{Peer.Port}");
        Environment.SetEnvironmentVariable(DiskVariable, Disk);
    }
}
