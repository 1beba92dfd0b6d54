using System.Globalization;
using Doppel.Vmm.Images;

namespace Doppel.Bench;

/// <summary>What only some rows need of a machine, in the words of the two VMMs.</summary>
/// <param name="Peer">What the network rows talk to; null for no network card.</param>
/// <param name="Disks">Disks, in the order in which guests find them; the host's own programs use them, too.</param>
/// <param name="Switch">Port of the loopback by which QEMU's machines find each other, and part of the name of the switch of Doppel's; null for no card on a switch.</param>
/// <param name="System">The image of <see cref="Row.System"/>; null where that is not run.</param>
internal sealed record Equipment(NetworkPeer? Peer, IReadOnlyList<BenchDisk> Disks, int? Switch, GuestImage? System)
{
    /// <summary>Variable that tells the programs where <see cref="Peer"/> is.</summary>
    public const string ServerVariable = "BENCH_SERVER";

    /// <summary>Variable that tells the programs where the disk of the disk rows is.</summary>
    public const string DiskVariable = "BENCH_DISK";

    /// <summary>Variable that tells the guest where fio's disk is.</summary>
    public const string FioVariable = "BENCH_FIO";

    /// <summary>Variable that tells the guest where the file system with fio is.</summary>
    public const string ToolsVariable = "BENCH_TOOLS";

    /// <summary>Variable that tells the guest its card on the switch, and its address there.</summary>
    public const string SwitchVariable = "BENCH_SWITCH";

    /// <summary>Variable that tells the programs where the other machine's are.</summary>
    public const string PartnerVariable = "BENCH_PARTNER";

    private const string PartnerAddress = "10.9.0.1", OwnAddress = "10.9.0.2";
    private const int PartnerPort = 7000;

    /// <summary>A machine without any of it.</summary>
    public static readonly Equipment None = new(null, [], null, null);

    /// <summary>What a guest is told: an unknown word of the kernel's command line becomes a variable of the first process.</summary>
    public string Append => (Peer is null ? "" : $" {ServerVariable}=10.0.2.2:{Peer.Port}")
        + (Switch is null ? "" : $" {SwitchVariable}=eth{(Peer is null ? 0 : 1)},{OwnAddress}/24 {PartnerVariable}={PartnerAddress}:{PartnerPort}")
        + string.Concat(Disks.Select((disk, i) => $" {disk.Variable}=/dev/vd{(char)('a' + i)}{disk.Part}"));

    /// <summary>What the machine on the switch that serves the other is told.</summary>
    public static string PartnerAppend => $"console=ttyS0 quiet panic=-1 {SwitchVariable}=eth0,{PartnerAddress}/24 bench=switch-serve:{PartnerPort}";

    /// <summary>QEMU's network card of that machine.</summary>
    public IEnumerable<string> QemuPartner => ["-netdev", $"socket,id=switch,listen=127.0.0.1:{Switch}", "-device", "virtio-net-pci,netdev=switch,mac=52:54:00:00:09:01"];

    /// <summary>Doppel's.</summary>
    public IEnumerable<string> DoppelPartner => ["--net", $"switch=bench-{Switch}"];

    /// <summary>QEMU's arguments. Its disk goes through the host's page cache, as Doppel's does.</summary>
    public IEnumerable<string> Qemu =>
    [
        .. Peer is null ? [] : (string[])["-netdev", "user,id=net", "-device", "virtio-net-pci,netdev=net"],
        .. Switch is null ? [] : (string[])["-netdev", $"socket,id=switch,connect=127.0.0.1:{Switch}", "-device", "virtio-net-pci,netdev=switch,mac=52:54:00:00:09:02"],
        .. Disks.SelectMany((disk, i) => (string[])
            ["-drive", $"file={disk.Path},format=raw,if=none,id=disk{i},cache=writeback{(disk.IsReadOnly ? ",readonly=on" : "")}", "-device", $"virtio-blk-pci,drive=disk{i}"]),
    ];

    /// <summary>Doppel's arguments.</summary>
    public IEnumerable<string> Doppel => [.. Cards, .. Disks.SelectMany(disk => (string[])["--disk", $"{disk.Path},format=raw{(disk.IsReadOnly ? ",ro" : "")}"])];

    private IEnumerable<string> Cards => Peer is null && Switch is null ? ["--net", "none"]
        : [.. Peer is null ? [] : (string[])["--net", "user"], .. Switch is null ? [] : (string[])["--net", $"switch=bench-{Switch}"]];

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
        foreach (BenchDisk disk in Disks)
        {
            Environment.SetEnvironmentVariable(disk.Variable, disk.Path);
        }
    }
}
