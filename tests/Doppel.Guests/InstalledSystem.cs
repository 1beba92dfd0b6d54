using System.Buffers.Binary;
using System.Diagnostics;
using System.Text.RegularExpressions;
using Doppel.Vmm.Images;

namespace Doppel.Guests;

/// <summary>
/// Debian on a disk of its own, with a kernel for any PC and GRUB for BIOS and UEFI: a master boot record, the core behind it,
/// the system's file system, and a partition for UEFI. No right of root is needed to install it.
/// </summary>
public sealed partial class InstalledSystem : IAsyncLifetime
{
    private const string ImageName = "debian-generic", Library = "/usr/lib/grub";
    private const int Sector = 512, FileSystemOffset = 1 << 20, UefiLength = 64 << 20, BootCodeLength = 440, SecondEntry = 446 + 16;
    private static readonly string[] Modules = ["part_msdos", "ext2", "fat", "linux", "normal", "configfile", "search", "search_label", "serial", "terminal", "echo", "test"];
    private readonly string _folder = Directory.CreateTempSubdirectory("doppel-installed-").FullName;

    /// <summary>The disk; machines must not write to it.</summary>
    internal string DiskPath => Path.Combine(_folder, "disk.img");

    public async Task InitializeAsync()
    {
        ImageStore store = ImageStore.ForUser();
        var options = new DebianImageOptions { Name = ImageName, Packages = ["linux-image-amd64"], Size = 2L << 30 };
        GuestImage image = store.Find(ImageName) ?? await new DebianImageBuilder(store).BuildAsync(options, new Progress<ImageProgress>(), CancellationToken.None);
        Run("cp", "--sparse=always", image.DiskPath!, DiskPath);
        string partition = Regex.Match(image.Manifest.CommandLine, "root=[^ ]*").Value;
        Configure(partition);
        InstallForBios();
        InstallForUefi();
    }

    public Task DisposeAsync()
    {
        Directory.Delete(_folder, recursive: true);
        return Task.CompletedTask;
    }

    // GRUB's menu, beside the kernel in the system's own file system.
    private void Configure(string root)
    {
        string system = $"{DiskPath}?offset={FileSystemOffset}", menu = Path.Combine(_folder, "grub.cfg"), script = Path.Combine(_folder, "debugfs.txt");
        string version = KernelName().Match(Run("debugfs", "-R", "ls -p /boot", system)).Groups[1].Value;
        Assert.NotEmpty(version);
        File.WriteAllText(menu, $"""
            serial --unit=0 --speed=115200
            terminal_input serial console
            terminal_output serial console
            set timeout=1
            menuentry "Debian" --unrestricted {"{"}
              linux /boot/vmlinuz-{version} {root} ro console=tty0 console=ttyS0
              initrd /boot/initrd.img-{version}
            {"}"}

            """);
        File.WriteAllText(script, $"mkdir /boot/grub\nwrite {menu} /boot/grub/grub.cfg\n");
        _ = Run("debugfs", "-w", "-f", script, system);
        Assert.Contains("menuentry", Run("debugfs", "-R", "cat /boot/grub/grub.cfg", system), StringComparison.Ordinal);
    }

    private void InstallForBios()
    {
        string core = Path.Combine(_folder, "core.img");
        _ = Run("grub-mkimage", ["-O", "i386-pc", "-d", Path.Combine(Library, "i386-pc"), "-p", "(,msdos1)/boot/grub", "-o", core, "biosdisk", .. Modules]);
        using FileStream disk = File.OpenWrite(DiskPath);
        disk.Write(File.ReadAllBytes(Path.Combine(Library, "i386-pc", "boot.img")).AsSpan(0, BootCodeLength));
        disk.Position = Sector;
        byte[] content = File.ReadAllBytes(core);
        Assert.True(content.Length <= FileSystemOffset - Sector, $"GRUB's core has {content.Length} bytes");
        disk.Write(content);
    }

    private void InstallForUefi()
    {
        string loader = Path.Combine(_folder, "bootx64.efi"), early = Path.Combine(_folder, "early.cfg"), system = Path.Combine(_folder, "esp.img");
        File.WriteAllText(early, "search --label root --set root\nset prefix=($root)/boot/grub\n");
        _ = Run("grub-mkimage", ["-O", "x86_64-efi", "-d", Path.Combine(Library, "x86_64-efi"), "-p", "/boot/grub", "-c", early, "-o", loader, "efi_gop", "all_video", .. Modules]);
        using (FileStream file = File.Create(system))
            file.SetLength(UefiLength);
        _ = Run("mformat", "-i", system, "-F", "-v", "ESP", "::");
        _ = Run("mmd", "-i", system, "::/EFI", "::/EFI/BOOT");
        _ = Run("mcopy", "-i", system, loader, "::/EFI/BOOT/BOOTX64.EFI");
        using FileStream disk = File.Open(DiskPath, FileMode.Open);
        long start = disk.Length;
        byte[] entry = [0, 0xFE, 0xFF, 0xFF, 0xEF, 0xFE, 0xFF, 0xFF, 0, 0, 0, 0, 0, 0, 0, 0];
        BinaryPrimitives.WriteUInt32LittleEndian(entry.AsSpan(8), (uint)(start / Sector));
        BinaryPrimitives.WriteUInt32LittleEndian(entry.AsSpan(12), UefiLength / Sector);
        disk.Position = SecondEntry;
        disk.Write(entry);
        disk.Position = start;
        using FileStream content = File.OpenRead(system);
        content.CopyTo(disk);
    }

    private static string Run(string program, params IEnumerable<string> arguments)
    {
        // Programs for file systems are in directories of the administrator's.
        string path = HostTool.Find(program) ?? HostTool.FindIn("/usr/sbin:/sbin", program) ?? program;
        var start = new ProcessStartInfo(path, arguments) { RedirectStandardError = true, RedirectStandardOutput = true };
        using Process process = Process.Start(start)!;
        Task<string> errors = process.StandardError.ReadToEndAsync();
        string output = process.StandardOutput.ReadToEnd();
        process.WaitForExit();
        Assert.True(process.ExitCode == 0, $"{program}: {errors.GetAwaiter().GetResult()}");
        return output;
    }

    [GeneratedRegex(@"/vmlinuz-([0-9.]+-[0-9]+-amd64)/")]
    private static partial Regex KernelName();
}
