using System.Globalization;
using System.Text;
using System.Text.RegularExpressions;
using Doppel.Vmm.Images;

namespace Doppel.Guests;

/// <summary>
/// Debian's kernel for 32-bit processors without PAE and a static 32-bit busybox, from the user's cache; fetched on first
/// use. There is no image of them: an initial RAM disk is written for each test.
/// </summary>
public sealed partial class Debian32 : IAsyncLifetime
{
    private const string KernelPackage = "linux-image-686";
    private const string ShellPackage = "busybox-static";

    private readonly string _cache = Path.Combine(ImageStore.ForUser().Root, "..", "tests", "debian-i386");
    private readonly string _work = Path.Combine(Path.GetTempPath(), $"doppel-debian32-{Guid.NewGuid():N}");

    /// <summary>The bzImage.</summary>
    public string Kernel => Path.Combine(_cache, "vmlinuz");

    // In the order in which they can be loaded.
    private static readonly string[] Drivers =
    [
        "scsi_common", "scsi_mod", "crct10dif_common", "crct10dif_generic", "crc-t10dif", "crc64", "crc64-rocksoft", "t10-pi", "libata", "ata_piix", "libahci", "ahci",
        "sd_mod", "cdrom", "sr_mod", "floppy", "mii", "e1000", "8139cp", "8139too", "8390", "8390p", "ne", "parport", "parport_pc", "lp", "button",
        "virtio_ring", "virtio", "virtio_pci_legacy_dev", "virtio_pci_modern_dev", "virtio_pci", "virtio_input", "evdev",
        "syscopyarea", "sysfillrect", "sysimgblt", "fb_sys_fops", "drm", "drm_kms_helper", "drm_shmem_helper", "virtio_dma_buf", "virtio-gpu", "ttm", "drm_ttm_helper", "vmwgfx", "drm_vram_helper", "bochs",
    ];

    private string Modules => Path.Combine(_cache, "modules");

    private string Busybox => Path.Combine(_cache, "busybox");

    public async Task InitializeAsync()
    {
        _ = Directory.CreateDirectory(_work);
        // The kernel is put into its place last.
        if (File.Exists(Kernel) && Drivers.All(driver => File.Exists(Path.Combine(Modules, driver))))
            return;
        _ = Directory.CreateDirectory(_cache);
        var source = new AptPackageSource(Path.Combine(_work, "apt"), "i386");
        var silent = new Progress<ImageProgress>();
        await source.OpenAsync(silent, CancellationToken.None);
        DebPackage meta = await source.FindAsync(KernelPackage, CancellationToken.None);
        string name = KernelDependency().Match(meta.Depends).Value;
        Assert.NotEmpty(name);
        await ExtractAsync(source, ShellPackage, n => n is "bin/busybox" or "usr/bin/busybox", Busybox);
        await ExtractKernelAsync(source, name);
    }

    public Task DisposeAsync()
    {
        Directory.Delete(_work, recursive: true);
        return Task.CompletedTask;
    }

    /// <summary>Writes an initial RAM disk whose first process runs a script and then powers off.</summary>
    /// <param name="script">The script.</param>
    /// <param name="drivers">Modules of the kernel that are loaded before, each with its parameters behind it; what they need is loaded with them.</param>
    /// <returns>Its path; it goes with the fixture.</returns>
    internal string WriteInitrd(string script, params string[] drivers)
    {
        string path = Path.Combine(_work, $"{Guid.NewGuid():N}.cpio");
        using FileStream stream = File.Create(path);
        using var archive = new CpioWriter(stream);
        foreach (string directory in new[] { "bin", "dev", "lib", "proc", "sys", "tmp" })
            archive.AddDirectory(directory);
        archive.AddCharacterDevice("dev/console", 5, 1);
        archive.AddCharacterDevice("dev/null", 1, 3, 0x1B6);
        archive.AddCharacterDevice("dev/zero", 1, 5, 0x1B6);
        archive.AddFile("bin/busybox", File.ReadAllBytes(Busybox), 0x1ED);
        archive.AddLink("bin/sh", "busybox");
        var load = new StringBuilder();
        if (drivers.Length != 0)
        {
            // Only then: other tests count what the kernel does.
            _ = load.Append("mount -t devtmpfs dev /dev\nmount -t sysfs sys /sys\n");
            Dictionary<string, string> parameters = drivers.Select(driver => driver.Split(' ', 2)).ToDictionary(words => words[0], words => words.ElementAtOrDefault(1) ?? "");
            HashSet<string> needed = Needs(parameters.Keys);
            foreach (string module in Drivers.Where(needed.Contains))
            {
                archive.AddFile($"lib/{module}.ko", File.ReadAllBytes(Path.Combine(Modules, module)), 0x1A4);
                _ = load.Append(CultureInfo.InvariantCulture, $"insmod /lib/{module}.ko {parameters.GetValueOrDefault(module)}\n");
            }
        }

        string init = $"#!/bin/sh\n/bin/busybox --install -s /bin\nmount -t proc proc /proc\n{load}{script}\npoweroff -f\n";
        archive.AddFile("init", Encoding.ASCII.GetBytes(init), 0x1ED);
        return path;
    }

    // The modules that a module names as what it needs, and itself.
    private HashSet<string> Needs(IEnumerable<string> modules)
    {
        var needed = new HashSet<string>();
        var open = new Queue<string>(modules);
        while (open.TryDequeue(out string? module))
        {
            string path = Path.Combine(Modules, module);
            Assert.True(File.Exists(path), $"Debian's 32-bit kernel has no module {module}");
            if (!needed.Add(module))
                continue;
            string text = Encoding.Latin1.GetString(File.ReadAllBytes(path));
            foreach (string other in Depends().Match(text).Groups[1].Value.Split(',', StringSplitOptions.RemoveEmptyEntries))
            {
                string name = Drivers.FirstOrDefault(driver => driver.Replace('-', '_') == other.Replace('-', '_')) ?? other;
                open.Enqueue(name);
            }
        }

        return needed;
    }

    private async Task ExtractKernelAsync(AptPackageSource source, string name)
    {
        DebPackage package = await source.FindAsync(name, CancellationToken.None);
        string file = await source.DownloadAsync(package, _work, new Progress<ImageProgress>(), CancellationToken.None);
        string modules = Path.Combine(_work, "modules"), kernel = Path.Combine(_work, "vmlinuz");
        _ = Directory.CreateDirectory(modules);
        string? TargetOf(string path)
        {
            if (path.StartsWith("boot/vmlinuz-", StringComparison.Ordinal))
                return kernel;
            string module = Path.GetFileNameWithoutExtension(path);
            return Path.GetExtension(path) == ".ko" && Drivers.Contains(module) ? Path.Combine(modules, module) : null;
        }

        _ = await DebArchive.ExtractManyAsync(file, TargetOf, CancellationToken.None);
        if (Directory.Exists(Modules))
            Directory.Delete(Modules, recursive: true);
        _ = Directory.CreateDirectory(Modules);
        foreach (string module in Directory.GetFiles(modules))
            File.Copy(module, Path.Combine(Modules, Path.GetFileName(module)));
        File.Copy(kernel, Kernel, overwrite: true);
    }

    private async Task ExtractAsync(AptPackageSource source, string name, Predicate<string> wanted, string target)
    {
        DebPackage package = await source.FindAsync(name, CancellationToken.None);
        string file = await source.DownloadAsync(package, _work, new Progress<ImageProgress>(), CancellationToken.None);
        string temporary = $"{target}.{Guid.NewGuid():N}";
        _ = await DebArchive.ExtractAsync(file, wanted, Path.GetFileName(target), temporary, CancellationToken.None);
        File.Move(temporary, target, overwrite: true);
    }

    [GeneratedRegex("\0depends=([^\0]*)\0")]
    private static partial Regex Depends();

    [GeneratedRegex(@"linux-image-[0-9][A-Za-z0-9.+~-]*-686")]
    private static partial Regex KernelDependency();
}
