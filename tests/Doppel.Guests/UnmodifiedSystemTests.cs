using Doppel.Vmm;
using Doppel.Vmm.Images;

namespace Doppel.Guests;

/// <summary>Systems as they are distributed, started by firmware from their own media. They need packages of Debian's, which ./test --slow installs.</summary>
[Collection("Debian")]
[Trait("Category", "Slow")]
public sealed class UnmodifiedSystemTests(DebianImage debian) : IDisposable
{
    private const string Installer = "/usr/lib/debian-installer/images/12/amd64/text/debian-installer/amd64";
    private static readonly TimeSpan Patience = TimeSpan.FromMinutes(8);
    private readonly string _folder = Directory.CreateTempSubdirectory("doppel-systems-").FullName;

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    [Fact]
    public async Task Memtest86_passes()
    {
        await using VirtualMachine machine = VirtualMachine.Create(FromDisc("/usr/lib/memtest86+/memtest86+x64.iso", FirmwareKind.Bios, 64));
        machine.Start();
        _ = await GuestScreen.ReadUntilAsync(machine, "Memtest86+", Patience);
        string screen = await GuestScreen.ReadUntilAsync(machine, "Pass complete", TimeSpan.FromMinutes(20));
        Assert.Contains("no errors", screen, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(FirmwareKind.Bios)]
    [InlineData(FirmwareKind.Uefi)]
    public async Task Debians_installer_asks_for_the_language(FirmwareKind firmware)
    {
        using var disc = new RescueDisc(
            "linux /linux console=tty0 console=ttyS0 TERM=vt102\ninitrd /initrd.gz\nboot", ("linux", Path.Combine(Installer, "linux")), ("initrd.gz", Path.Combine(Installer, "initrd.gz")));
        await using VirtualMachine machine = VirtualMachine.Create(FromDisc(disc.ImagePath, firmware, 768));
        machine.Start();
        _ = await machine.Console.ReadUntilAsync("Choose the language", Patience);
    }

    [Theory]
    [InlineData(NetworkModel.Virtio)]
    [InlineData(NetworkModel.E1000)]
    [InlineData(NetworkModel.Rtl8139)]
    public async Task IPXE_boots_from_the_network(NetworkModel model)
    {
        File.Copy(debian.Image.KernelPath, Path.Combine(_folder, "vmlinuz"));
        File.Copy(debian.Image.InitrdPath, Path.Combine(_folder, "initrd.img"));
        string script = Path.Combine(_folder, "boot.ipxe");
        File.WriteAllText(script, "#!ipxe\necho the script is read\nkernel vmlinuz console=ttyS0 panic=-1\ninitrd initrd.img\nboot\n");
        await using VirtualMachine machine = VirtualMachine.Create(new MachineSpec
        {
            Kernel = "",
            Firmware = FirmwareKind.Bios,
            BootOrder = [BootDevice.Net],
            Networks = [new NetworkSpec { Model = model, BootFile = script }],
        });
        machine.Start();
        _ = await machine.Console.ReadUntilAsync("iPXE", Patience);
        _ = await machine.Console.ReadUntilAsync("the script is read", Patience);
        _ = await machine.Console.ReadUntilAsync(DebianGuest.Prompt, Patience);
    }

    [Fact]
    public async Task Xen_runs_Debian_as_its_first_domain()
    {
        string package = Path.Combine(_folder, "xen.gz");
        var source = new AptPackageSource(Path.Combine(_folder, "apt"));
        var silent = new Progress<ImageProgress>();
        await source.OpenAsync(silent, CancellationToken.None);
        DebPackage found = await source.FindAsync("xen-hypervisor-4.17-amd64", CancellationToken.None);
        string file = await source.DownloadAsync(found, _folder, silent, CancellationToken.None);
        _ = await DebArchive.ExtractAsync(file, name => name == "boot/xen-4.17-amd64.gz", "xen-4.17-amd64.gz", package, CancellationToken.None);
        using var disc = new RescueDisc(
            "multiboot2 /xen.gz com1=115200,8n1 console=com1,vga dom0_mem=256M noreboot\nmodule2 /vmlinuz console=hvc0 panic=-1\nmodule2 /initrd.img\nboot",
            ("xen.gz", package), ("vmlinuz", debian.Image.KernelPath), ("initrd.img", debian.Image.InitrdPath));
        await using VirtualMachine machine = VirtualMachine.Create(FromDisc(disc.ImagePath, FirmwareKind.Bios, 768) with { Cpus = 2 });
        machine.Start();
        _ = await machine.Console.ReadUntilAsync("Xen version 4.17", Patience);
        _ = await machine.Console.ReadUntilAsync(DebianGuest.Prompt, Patience);
        machine.Console.WriteLine("cat /sys/hypervisor/type");
        _ = await machine.Console.ReadUntilAsync("\nxen", Patience);
    }

    private static MachineSpec FromDisc(string path, FirmwareKind firmware, ulong mebibytes) => new()
    {
        Kernel = "",
        Firmware = firmware,
        Memory = mebibytes << 20,
        Disks = [DiskSpec.ForCdrom(path, DiskInterface.Ide)],
    };
}
