using Doppel.Vmm;
using Doppel.Vmm.Tests.Firmware;

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
        string screen = await GuestScreen.ReadUntilAsync(machine, "Pass:  1", TimeSpan.FromMinutes(20));
        Assert.Contains("Errors: 0", screen, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(FirmwareKind.Bios)]
    [InlineData(FirmwareKind.Uefi)]
    public async Task Debians_installer_asks_for_the_language(FirmwareKind firmware)
    {
        using var disc = new RescueDisc(
            "linux /linux console=tty0 console=ttyS0 TERM=vt102\ninitrd /initrd.gz\nboot", ("linux", Path.Combine(Installer, "linux")), ("initrd.gz", Path.Combine(Installer, "initrd.gz")));
        await using VirtualMachine machine = VirtualMachine.Create(FromDisc(disc.ImagePath, firmware, 1024));
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

    private static MachineSpec FromDisc(string path, FirmwareKind firmware, ulong mebibytes) => new()
    {
        Kernel = "",
        Firmware = firmware,
        Display = DisplayAdapterKind.Std,
        Memory = mebibytes << 20,
        Disks = [DiskSpec.ForCdrom(path, DiskInterface.Ide)],
    };
}
