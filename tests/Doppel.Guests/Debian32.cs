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

    private string Busybox => Path.Combine(_cache, "busybox");

    public async Task InitializeAsync()
    {
        _ = Directory.CreateDirectory(_work);
        // The kernel is put into its place last.
        if (File.Exists(Kernel))
            return;
        _ = Directory.CreateDirectory(_cache);
        var source = new AptPackageSource(Path.Combine(_work, "apt"), "i386");
        var silent = new Progress<ImageProgress>();
        await source.OpenAsync(silent, CancellationToken.None);
        DebPackage meta = await source.FindAsync(KernelPackage, CancellationToken.None);
        string name = KernelDependency().Match(meta.Depends).Value;
        Assert.NotEmpty(name);
        await ExtractAsync(source, ShellPackage, n => n is "bin/busybox" or "usr/bin/busybox", Busybox);
        await ExtractAsync(source, name, n => n.StartsWith("boot/vmlinuz-", StringComparison.Ordinal), Kernel);
    }

    public Task DisposeAsync()
    {
        Directory.Delete(_work, recursive: true);
        return Task.CompletedTask;
    }

    /// <summary>Writes an initial RAM disk whose first process runs a script and then powers off.</summary>
    /// <returns>Its path; it goes with the fixture.</returns>
    internal string WriteInitrd(string script)
    {
        string path = Path.Combine(_work, $"{Guid.NewGuid():N}.cpio");
        using FileStream stream = File.Create(path);
        using var archive = new CpioWriter(stream);
        foreach (string directory in new[] { "bin", "dev", "proc", "tmp" })
            archive.AddDirectory(directory);
        archive.AddCharacterDevice("dev/console", 5, 1);
        archive.AddCharacterDevice("dev/null", 1, 3, 0x1B6);
        archive.AddCharacterDevice("dev/zero", 1, 5, 0x1B6);
        archive.AddFile("bin/busybox", File.ReadAllBytes(Busybox), 0x1ED);
        archive.AddLink("bin/sh", "busybox");
        string init = $"#!/bin/sh\n/bin/busybox --install -s /bin\nmount -t proc proc /proc\n{script}\npoweroff -f\n";
        archive.AddFile("init", Encoding.ASCII.GetBytes(init), 0x1ED);
        return path;
    }

    private async Task ExtractAsync(AptPackageSource source, string name, Predicate<string> wanted, string target)
    {
        DebPackage package = await source.FindAsync(name, CancellationToken.None);
        string file = await source.DownloadAsync(package, _work, new Progress<ImageProgress>(), CancellationToken.None);
        string temporary = $"{target}.{Guid.NewGuid():N}";
        _ = await DebArchive.ExtractAsync(file, wanted, Path.GetFileName(target), temporary, CancellationToken.None);
        File.Move(temporary, target, overwrite: true);
    }

    [GeneratedRegex(@"linux-image-[0-9][A-Za-z0-9.+~-]*-686")]
    private static partial Regex KernelDependency();
}
