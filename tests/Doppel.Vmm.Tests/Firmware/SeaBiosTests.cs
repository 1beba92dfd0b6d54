using Doppel.Devices.Storage.Images;

namespace Doppel.Vmm.Tests.Firmware;

/// <summary>SeaBIOS on the board with firmware: what it boots, and in which order.</summary>
public sealed class SeaBiosTests
{
    private static readonly TimeSpan Patience = TimeSpan.FromMinutes(2);

    [Theory]
    [InlineData("translator", DiskInterface.Virtio)]
    [InlineData("translator", DiskInterface.Nvme)]
    public Task GRUB_boots_from_a_disk_to_its_prompt(string engine, DiskInterface controller) => BootAsync(engine, controller);

    [Fact]
    [Trait("Category", "Slow")]
    public Task GRUB_boots_under_the_interpreter() => BootAsync("interpreter", DiskInterface.Virtio);

    private static async Task BootAsync(string engine, DiskInterface controller)
    {
        using GrubMedium disk = GrubMedium.SerialDisk("echo core is up");
        await using VirtualMachine machine = VirtualMachine.Create(Spec(disk, controller) with { Engine = engine });
        machine.Start();
        _ = await machine.Console.ReadUntilAsync("core is up", Patience);
        _ = await machine.Console.ReadUntilAsync("grub> ", Patience);
        machine.Console.WriteLine("ls");
        _ = await machine.Console.ReadUntilAsync("(hd0)", Patience);
        machine.Console.WriteLine("reboot");
        _ = await machine.Console.ReadUntilAsync("core is up", Patience);
        Assert.Equal(1, machine.RebootCount);
        _ = await machine.Console.ReadUntilAsync("grub> ", Patience);
        machine.Console.WriteLine("halt");
        Assert.Equal(VmExitKind.PowerOff, (await machine.WaitAsync().WaitAsync(Patience)).Kind);
    }

    [Fact]
    public async Task What_is_not_in_the_order_is_not_booted_from()
    {
        using GrubMedium disk = GrubMedium.SerialDisk("echo core is up");
        await using VirtualMachine machine = VirtualMachine.Create(Spec(disk, DiskInterface.Virtio) with { BootOrder = [BootDevice.Net], Display = DisplayAdapterKind.Automatic });
        machine.Start();
        _ = await machine.Console.ReadUntilAsync("No bootable device", Patience);
        Assert.DoesNotContain("core is up", machine.Console.Transcript, StringComparison.Ordinal);
    }

    private static MachineSpec Spec(GrubMedium disk, DiskInterface controller) => new()
    {
        Kernel = "",
        Firmware = FirmwareKind.Bios,
        Display = DisplayAdapterKind.Std,
        Memory = 64 << 20,
        Disks = [new DiskSpec { Path = disk.ImagePath, Format = DiskFormat.Raw, IsEphemeral = true, Interface = controller }],
    };
}
