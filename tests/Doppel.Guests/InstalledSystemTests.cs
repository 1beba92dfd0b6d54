using Doppel.Devices.Storage.Images;
using Doppel.Vmm;

namespace Doppel.Guests;

/// <summary>An installed Debian starts by GRUB from its own disk, at every controller that firmware can boot from.</summary>
[Trait("Category", "Slow")]
public sealed class InstalledSystemTests(InstalledSystem system) : IClassFixture<InstalledSystem>
{
    private static readonly TimeSpan Patience = TimeSpan.FromMinutes(8);

    [Theory]
    [InlineData(FirmwareKind.Bios, DiskInterface.Ide, "ata_piix")]
    [InlineData(FirmwareKind.Bios, DiskInterface.Ahci, "ahci")]
    [InlineData(FirmwareKind.Bios, DiskInterface.Virtio, "virtio_blk")]
    [InlineData(FirmwareKind.Uefi, DiskInterface.Ide, "ata_piix")]
    [InlineData(FirmwareKind.Uefi, DiskInterface.Ahci, "ahci")]
    [InlineData(FirmwareKind.Uefi, DiskInterface.Virtio, "virtio_blk")]
    public async Task It_boots_to_its_login(FirmwareKind firmware, DiskInterface controller, string driver)
    {
        await using VirtualMachine machine = VirtualMachine.Create(new MachineSpec
        {
            Kernel = "",
            Firmware = firmware,
            Memory = 1024 << 20,
            Disks = [new DiskSpec { Path = system.DiskPath, Format = DiskFormat.Raw, Interface = controller, IsEphemeral = true }],
        });
        machine.Start();
        _ = await machine.Console.ReadUntilAsync("Debian", Patience);
        _ = await machine.Console.ReadUntilAsync(" login: ", Patience);
        machine.Console.WriteLine("root");
        _ = await machine.Console.ReadUntilAsync("# ", Patience);
        machine.Console.WriteLine($"echo firmware=$([ -d /sys/firmware/efi ] && echo Uefi || echo Bios) $(lsmod | grep -c ^{driver})x $(findmnt -no FSTYPE,OPTIONS / | cut -c1-7)");
        _ = await machine.Console.ReadUntilAsync($"firmware={firmware} 1x ext4", Patience);
    }
}
