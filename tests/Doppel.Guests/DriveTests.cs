using Doppel.Vmm;
using Xunit.Abstractions;

namespace Doppel.Guests;

/// <summary>Drives that a system of their time knows, under Debian's 32-bit kernel and its own drivers.</summary>
[Collection("Debian")]
public sealed class DriveTests(Debian32 debian, ITestOutputHelper output) : IClassFixture<Debian32>, IDisposable
{
    private static readonly TimeSpan Patience = TimeSpan.FromMinutes(2);
    private readonly string _folder = Directory.CreateTempSubdirectory("doppel-drives-").FullName;

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    [Theory]
    [InlineData(DiskInterface.Ide, "ata_piix", "MWDMA2")]
    [InlineData(DiskInterface.Ahci, "ahci", "SATA link up 6.0 Gbps")]
    public async Task A_disc_is_copied_to_a_disk_and_another_disc_is_taken(DiskInterface controller, string driver, string found)
    {
        const string Work = """
            i=0; while [ ! -b /dev/sda -o ! -b /dev/sr0 ] && [ $i -lt 100 ]; do i=$((i+1)); sleep 0.1; done
            dd if=/dev/sr0 of=/dev/sda bs=64k 2>/dev/null; sync
            echo 3 > /proc/sys/vm/drop_caches
            first=$(dd if=/dev/sr0 bs=2048 count=1024 2>/dev/null | sha256sum)
            echo "disc $first"
            echo "disk $(dd if=/dev/sda bs=2048 count=1024 2>/dev/null | sha256sum)"
            dmesg | grep -E 'ata[0-9]' | tail -20
            echo "change it"
            next=
            while [ -z "$next" ] || [ "$next" = "$first" ]; do sleep 0.2; next=$(dd if=/dev/sr0 bs=2048 count=1024 2>/dev/null | sha256sum); done
            echo "next $next"
            """;
        byte[] one = MakeFile("one.iso", 1), two = MakeFile("two.iso", 2);
        File.WriteAllBytes(Path.Combine(_folder, "disk.img"), new byte[4 << 20]);
        var spec = new MachineSpec
        {
            Kernel = debian.Kernel,
            Initrd = debian.WriteInitrd(Work, driver, "sd_mod", "sr_mod"),
            CommandLine = "console=ttyS0 panic=-1 quiet",
            Memory = 128UL << 20,
            Disks = [new DiskSpec { Path = Path.Combine(_folder, "disk.img"), Interface = controller }, DiskSpec.ForCdrom(Path.Combine(_folder, "one.iso"), controller)],
        };
        await using var guest = VirtualMachine.Create(spec);
        guest.Start();
        string console = await guest.Console.ReadUntilAsync("change it", Patience);
        output.WriteLine(console);
        Assert.Contains($"disc {Hash(one)}", console, StringComparison.Ordinal);
        Assert.Contains($"disk {Hash(one)}", console, StringComparison.Ordinal);
        Assert.Contains(found, console, StringComparison.Ordinal);
        await guest.ChangeMediumAsync("cdrom0", null);
        await guest.ChangeMediumAsync("cdrom0", Path.Combine(_folder, "two.iso"));
        console = await guest.Console.ReadUntilAsync($"next {Hash(two)}", Patience);
        VmExit exit = await guest.WaitAsync().WaitAsync(Patience);
        Assert.Equal(VmExitKind.PowerOff, exit.Kind);
        Assert.Equal(one, File.ReadAllBytes(Path.Combine(_folder, "disk.img")).AsSpan(0, one.Length).ToArray());
    }

    [Fact]
    public async Task A_diskette_is_read_and_written()
    {
        const string Work = """
            i=0; while [ ! -b /dev/fd0 ] && [ $i -lt 100 ]; do i=$((i+1)); sleep 0.1; done
            echo "diskette $(dd if=/dev/fd0 bs=18k count=8 2>/dev/null | sha256sum)"
            dd if=/dev/fd0 of=/tmp/part bs=18k count=2 2>/dev/null
            dd if=/tmp/part of=/dev/fd0 bs=18k seek=60 conv=fsync 2>/dev/null
            dmesg | grep -i -E 'fd0|floppy|FDC' | tail -20
            echo "done with it"
            """;
        string path = Path.Combine(_folder, "floppy.img");
        byte[] content = new byte[1440 * 1024];
        new Random(3).NextBytes(content);
        File.WriteAllBytes(path, content);
        var spec = new MachineSpec
        {
            Kernel = debian.Kernel,
            Initrd = debian.WriteInitrd(Work, "floppy"),
            CommandLine = "console=ttyS0 panic=-1 quiet",
            Memory = 128UL << 20,
            Disks = [DiskSpec.ForFloppy(path)],
        };
        await using var guest = VirtualMachine.Create(spec);
        guest.Start();
        string console = await guest.Console.ReadUntilAsync("done with it", Patience);
        output.WriteLine(console);
        Assert.Contains($"diskette {Hash(content[..(8 * 18432)])}", console, StringComparison.Ordinal);
        VmExit exit = await guest.WaitAsync().WaitAsync(Patience);
        Assert.Equal(VmExitKind.PowerOff, exit.Kind);
        Assert.Equal(content[..(2 * 18432)], File.ReadAllBytes(path).AsSpan(60 * 18432, 2 * 18432).ToArray());
    }

    private static string Hash(byte[] content) => Convert.ToHexStringLower(System.Security.Cryptography.SHA256.HashData(content));

    private byte[] MakeFile(string name, int seed)
    {
        byte[] content = new byte[2 << 20];
        new Random(seed).NextBytes(content);
        File.WriteAllBytes(Path.Combine(_folder, name), content);
        return content;
    }
}
