using Doppel.Devices.Storage.Images;

namespace Doppel.Vmm.Tests.Firmware;

/// <summary>What SeaBIOS boots from, in which order, and what is on the screen.</summary>
public sealed class BootMediaTests
{
    private static readonly TimeSpan Patience = TimeSpan.FromMinutes(1);

    [Theory]
    [InlineData(DiskInterface.Ide)]
    [InlineData(DiskInterface.Ahci)]
    public Task A_disk_boots(DiskInterface controller)
    {
        GrubMedium disk = GrubMedium.Disk("echo core is up");
        return BootAsync(disk, new DiskSpec { Path = disk.ImagePath, Format = DiskFormat.Raw, IsEphemeral = true, Interface = controller }, "hd0");
    }

    [Theory]
    [InlineData(DiskInterface.Ide)]
    [InlineData(DiskInterface.Ahci)]
    public Task A_disc_boots(DiskInterface controller)
    {
        GrubMedium disc = GrubMedium.Disc("echo core is up");
        return BootAsync(disc, DiskSpec.ForCdrom(disc.ImagePath, controller), "cd");
    }

    [Fact]
    public Task A_disc_that_shows_a_diskette_boots()
    {
        GrubMedium disc = GrubMedium.DiscWithDiskette("echo core is up");
        return BootAsync(disc, DiskSpec.ForCdrom(disc.ImagePath, DiskInterface.Ide), "fd0");
    }

    [Fact]
    public Task A_diskette_boots()
    {
        GrubMedium diskette = GrubMedium.Diskette("echo core is up");
        return BootAsync(diskette, DiskSpec.ForFloppy(diskette.ImagePath), "fd0");
    }

    [Theory]
    [InlineData(BootDevice.Disk)]
    [InlineData(BootDevice.Cd)]
    [InlineData(BootDevice.Floppy)]
    public async Task The_first_of_the_order_boots(BootDevice first)
    {
        using GrubMedium disk = GrubMedium.Disk("echo from Disk"), disc = GrubMedium.Disc("echo from Cd"), diskette = GrubMedium.Diskette("echo from Floppy");
        await using VirtualMachine machine = VirtualMachine.Create(new MachineSpec
        {
            Kernel = "",
            Firmware = FirmwareKind.Bios,
            Memory = 64 << 20,
            BootOrder = [first, .. new[] { BootDevice.Floppy, BootDevice.Disk, BootDevice.Cd }.Where(other => other != first)],
            Disks =
            [
                new DiskSpec { Path = disk.ImagePath, Format = DiskFormat.Raw, IsEphemeral = true, Interface = DiskInterface.Ide },
                DiskSpec.ForCdrom(disc.ImagePath, DiskInterface.Ide),
                DiskSpec.ForFloppy(diskette.ImagePath),
            ],
        });
        machine.Start();
        _ = await GuestScreen.ReadUntilAsync(machine, $"from {first}", Patience);
    }

    [Fact]
    public async Task A_disc_hands_over_to_the_disk()
    {
        using GrubMedium disk = GrubMedium.Disk("echo second core"), disc = GrubMedium.Disc("lsacpi", "echo first core", "chainloader (hd0)+1", "boot");
        await using VirtualMachine machine = VirtualMachine.Create(new MachineSpec
        {
            Kernel = "",
            Firmware = FirmwareKind.Bios,
            Memory = 64 << 20,
            Cpus = 3,
            BootOrder = [BootDevice.Cd, BootDevice.Disk],
            Disks =
            [
                new DiskSpec { Path = disk.ImagePath, Format = DiskFormat.Raw, IsEphemeral = true, Interface = DiskInterface.Virtio },
                DiskSpec.ForCdrom(disc.ImagePath, DiskInterface.Ide),
            ],
        });
        machine.Start();
        Assert.Contains("FACP", await GuestScreen.ReadUntilAsync(machine, "first core", Patience), StringComparison.Ordinal);
        _ = await GuestScreen.ReadUntilAsync(machine, "second core", Patience);
    }

    [Fact]
    public async Task The_boot_menu_lists_what_there_is()
    {
        using GrubMedium disk = GrubMedium.Disk("echo from the disk"), disc = GrubMedium.Disc("echo from the disc");
        await using VirtualMachine machine = VirtualMachine.Create(new MachineSpec
        {
            Kernel = "",
            Firmware = FirmwareKind.Bios,
            Memory = 64 << 20,
            Cpus = 3,
            BootMenu = true,
            Disks =
            [
                new DiskSpec { Path = disk.ImagePath, Format = DiskFormat.Raw, IsEphemeral = true, Interface = DiskInterface.Ide },
                DiskSpec.ForCdrom(disc.ImagePath, DiskInterface.Ide),
            ],
        });
        machine.Start();
        _ = await GuestScreen.ReadUntilAsync(machine, "for boot menu", Patience);
        machine.Console.Write("\u001b");
        string menu = await GuestScreen.ReadUntilAsync(machine, "\n2. ", Patience);
        Assert.Contains("\n1. ", menu, StringComparison.Ordinal);
        machine.Console.Write("2");
        _ = await GuestScreen.ReadUntilAsync(machine, "from the disc", Patience);
    }

    private static async Task BootAsync(GrubMedium medium, DiskSpec disk, string device)
    {
        using GrubMedium closed = medium;
        await using VirtualMachine machine = VirtualMachine.Create(new MachineSpec { Kernel = "", Firmware = FirmwareKind.Bios, Memory = 64 << 20, Disks = [disk] });
        machine.Start();
        _ = await GuestScreen.ReadUntilAsync(machine, "core is up", Patience);
        machine.Console.WriteLine("ls");
        _ = await GuestScreen.ReadUntilAsync(machine, $"({device}", Patience);
    }
}
