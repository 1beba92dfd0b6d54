using Doppel.Vmm;
using Doppel.Vmm.Images;

namespace Doppel.Guests;

/// <summary>
/// Debian's Xen as a guest: a hypervisor that GRUB starts by Multiboot 2, with Debian's kernel as its first domain, which is
/// paravirtualized.
/// </summary>
[Trait("Category", "Slow")]
public sealed class XenTests : IDisposable
{
    private const string Hypervisor = "xen-hypervisor-4.17-amd64", Shell = "busybox-static";
    // The cloud kernel has no console of a first domain; this one has.
    private const string Kernel = "/usr/lib/debian-installer/images/12/amd64/text/debian-installer/amd64/linux";
    private const string Init = """
        #!/bin/busybox sh
        /bin/busybox --install -s /bin
        mount -t devtmpfs dev /dev
        mount -t proc proc /proc
        mount -t sysfs sys /sys
        exec </dev/hvc0 >/dev/hvc0 2>&1
        echo "domain 0 of $(cat /sys/hypervisor/type) $(cat /sys/hypervisor/version/major).$(cat /sys/hypervisor/version/minor)"
        exec setsid sh -i

        """;
    private static readonly TimeSpan Patience = TimeSpan.FromMinutes(5);
    private readonly string _folder = Directory.CreateTempSubdirectory("doppel-xen-").FullName;

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    [Fact]
    public async Task The_first_domain_of_Xen_comes_to_its_shell()
    {
        string hypervisor = Path.Combine(_folder, "xen.gz"), busybox = Path.Combine(_folder, "busybox"), initrd = Path.Combine(_folder, "initrd.cpio");
        var source = new AptPackageSource(Path.Combine(_folder, "apt"));
        await source.OpenAsync(new Progress<ImageProgress>(), CancellationToken.None);
        await ExtractAsync(source, Hypervisor, name => name.StartsWith("boot/xen-", StringComparison.Ordinal) && name.EndsWith(".gz", StringComparison.Ordinal), hypervisor);
        await ExtractAsync(source, Shell, name => name is "bin/busybox" or "usr/bin/busybox", busybox);
        WriteInitrd(initrd, busybox);
        using var disc = new RescueDisc(
            """
            multiboot2 /xen.gz xen com1=115200,8n1 console=com1 dom0_mem=256M loglvl=all guest_loglvl=all noreboot
            module2 /vmlinuz linux console=hvc0 earlyprintk=xen
            module2 /initrd
            boot
            """,
            ("xen.gz", hypervisor), ("vmlinuz", Kernel), ("initrd", initrd));
        await using VirtualMachine machine = VirtualMachine.Create(new MachineSpec
        {
            Kernel = "",
            Firmware = FirmwareKind.Bios,
            Memory = 768 << 20,
            Disks = [DiskSpec.ForCdrom(disc.ImagePath, DiskInterface.Ide)],
        });
        machine.Start();
        _ = await machine.Console.ReadUntilAsync("domain 0 of xen 4.17", Patience);
        _ = await machine.Console.ReadUntilAsync("/ # ", Patience);
        machine.Console.WriteLine("echo answer $((6 * 7))");
        _ = await machine.Console.ReadUntilAsync("answer 42", Patience);
    }

    private static void WriteInitrd(string path, string busybox)
    {
        using FileStream stream = File.Create(path);
        using var archive = new CpioWriter(stream);
        foreach (string directory in new[] { "bin", "dev", "proc", "sys" })
            archive.AddDirectory(directory);
        archive.AddCharacterDevice("dev/console", 5, 1);
        archive.AddFile("bin/busybox", File.ReadAllBytes(busybox), 0x1ED);
        archive.AddFile("init", System.Text.Encoding.ASCII.GetBytes(Init), 0x1ED);
    }

    private async Task ExtractAsync(AptPackageSource source, string name, Predicate<string> wanted, string target)
    {
        DebPackage package = await source.FindAsync(name, CancellationToken.None);
        string file = await source.DownloadAsync(package, _folder, new Progress<ImageProgress>(), CancellationToken.None);
        _ = await DebArchive.ExtractAsync(file, wanted, Path.GetFileName(target), target, CancellationToken.None);
    }
}
