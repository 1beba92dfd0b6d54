using System.IO.Compression;
using System.Reflection;
using System.Text.Json;
using System.Text.RegularExpressions;

namespace Doppel.Vmm.Images;

/// <summary>Makes the quick default guest: Debian's cloud kernel, unmodified, and an initial RAM disk around its busybox.</summary>
public sealed partial class BusyboxImageBuilder
{
    /// <summary>Name of the image.</summary>
    public const string ImageName = "busybox";

    /// <summary>The guest's command line: console on the first serial port; a crash resets at once, so that the VM ends.</summary>
    public const string CommandLine = "console=ttyS0 panic=-1";

    private const string KernelPackage = "linux-image-cloud-amd64";
    private const string KernelPath = "boot/vmlinuz-";
    private const string ShellPackage = "busybox-static";
    private readonly ImageStore _store;

    /// <summary>Makes images for a cache.</summary>
    public BusyboxImageBuilder(ImageStore store) => _store = store;

    /// <summary>Fetches the packages, makes the image and puts it into the cache in place of an older one.</summary>
    /// <param name="createSource">Makes the package source; it is given a private directory that is deleted at the end.</param>
    /// <param name="progress">Told what is being done.</param>
    /// <param name="cancel">Stops; nothing is left behind.</param>
    /// <exception cref="ImageException">It can't be had; the message says what to do.</exception>
    public async Task<GuestImage> BuildAsync(Func<string, IPackageSource> createSource, IProgress<ImageProgress> progress, CancellationToken cancel)
    {
        string work = _store.CreateWorkDirectory(ImageName);
        string packages = work + ".packages";
        try
        {
            _ = Directory.CreateDirectory(packages);
            IPackageSource source = createSource(packages);
            await source.OpenAsync(progress, cancel).ConfigureAwait(false);
            DebPackage meta = await source.FindAsync(KernelPackage, cancel).ConfigureAwait(false);
            Match dependency = KernelDependency().Match(meta.Depends);
            if (!dependency.Success)
                throw new ImageException(ImageError.Content, $"{KernelPackage} {meta.Version} depends on no kernel (\"{meta.Depends}\")");
            DebPackage kernel = await source.FindAsync(dependency.Value, cancel).ConfigureAwait(false);
            DebPackage shell = await source.FindAsync(ShellPackage, cancel).ConfigureAwait(false);
            string kernelFile = await source.DownloadAsync(kernel, packages, progress, cancel).ConfigureAwait(false);
            string shellFile = await source.DownloadAsync(shell, packages, progress, cancel).ConfigureAwait(false);

            progress.Report(new ImageProgress("unpacking the kernel", null));
            var modules = new GuestModules(packages);
            IReadOnlyList<string> paths = await DebArchive.ExtractManyAsync(
                kernelFile, n => n.StartsWith(KernelPath, StringComparison.Ordinal) ? Path.Combine(work, GuestImage.KernelFile) : modules.TargetOf(n), cancel).ConfigureAwait(false);
            string path = paths.FirstOrDefault(n => n.StartsWith(KernelPath, StringComparison.Ordinal))
                ?? throw new ImageException(ImageError.Content, $"{Path.GetFileName(kernelFile)}: the package has no {KernelPath}*");
            string version = path[KernelPath.Length..];
            string busybox = Path.Combine(packages, "busybox");
            _ = await DebArchive.ExtractAsync(shellFile, n => n is "bin/busybox" or "usr/bin/busybox", "bin/busybox", busybox, cancel).ConfigureAwait(false);

            progress.Report(new ImageProgress("making the initial RAM disk", null));
            WriteInitrd(Path.Combine(work, GuestImage.InitrdFile), await File.ReadAllBytesAsync(busybox, cancel).ConfigureAwait(false), await modules.ReadAsync(cancel).ConfigureAwait(false));
            var manifest = new ImageManifest
            {
                Name = ImageName,
                Created = DateTimeOffset.UtcNow,
                KernelVersion = version,
                CommandLine = CommandLine,
                Packages = [new(kernel.Name, kernel.Version, kernel.Sha256), new(shell.Name, shell.Version, shell.Sha256)],
                Files = [await DescribeAsync(work, GuestImage.KernelFile, cancel).ConfigureAwait(false), await DescribeAsync(work, GuestImage.InitrdFile, cancel).ConfigureAwait(false)],
            };
            await using (FileStream stream = File.Create(Path.Combine(work, ImageManifest.FileName)))
                await JsonSerializer.SerializeAsync(stream, manifest, ImageJson.Default.ImageManifest, cancel).ConfigureAwait(false);
            return _store.Publish(ImageName, work);
        }
        finally
        {
            Delete(work);
            Delete(packages);
        }
    }

    /// <summary>Writes the initial RAM disk around a static busybox.</summary>
    /// <param name="path">Where.</param>
    /// <param name="busybox">The program.</param>
    /// <param name="modules">Kernel modules: name and content, each after those that it needs.</param>
    internal static void WriteInitrd(string path, byte[] busybox, IReadOnlyList<(string Name, byte[] Content)> modules)
    {
        using FileStream file = File.Create(path);
        using var gzip = new GZipStream(file, CompressionLevel.Optimal);
        using var archive = new CpioWriter(gzip);
        foreach (string directory in (string[])["bin", "sbin", "usr", "usr/bin", "usr/sbin", "dev", "proc", "sys", "etc", "root", "run", "mnt", "lib", "lib/modules"])
            archive.AddDirectory(directory);
        archive.AddDirectory("tmp", 0x3FF);
        archive.AddCharacterDevice("dev/console", 5, 1);
        archive.AddFile("bin/busybox", busybox, 0x1ED);
        archive.AddLink("bin/sh", "busybox");
        archive.AddFile("init", Resource("init"), 0x1ED);
        archive.AddFile("etc/inittab", Resource("inittab"));
        archive.AddFile("etc/console", Resource("console"), 0x1ED);
        archive.AddFile("etc/power-button", Resource("power-button"), 0x1ED);
        archive.AddDirectory("etc/acpi");
        archive.AddDirectory("etc/acpi/PWRF");
        // Where busybox's acpid looks for what to do when the button is pressed.
        archive.AddFile("etc/acpi/PWRF/00000080", "#!/bin/sh\nexec poweroff\n"u8, 0x1ED);
        archive.AddFile("etc/window-size", Resource("window-size"), 0x1ED);
        archive.AddFile("etc/virtio", Resource("virtio"), 0x1ED);
        archive.AddFile("etc/volumes", Resource("volumes"), 0x1ED);
        archive.AddFile("etc/network", Resource("network"), 0x1ED);
        archive.AddFile("etc/dhcp", Resource("dhcp"), 0x1ED);
        foreach ((string name, byte[] content) in modules)
            archive.AddFile($"lib/modules/{name}.ko", content);
        archive.AddFile("etc/profile", Resource("profile"));
        archive.AddFile("etc/passwd", "root:x:0:0:root:/root:/bin/sh\n"u8);
        archive.AddFile("etc/group", "root:x:0:\n"u8);
        archive.AddFile("etc/hostname", "doppel\n"u8);
    }

    private static byte[] Resource(string name)
    {
        using Stream stream = Assembly.GetExecutingAssembly().GetManifestResourceStream($"Doppel.Vmm.Images.Guest.{name}")
            ?? throw new InvalidOperationException($"resource {name} is missing from the assembly");
        using var copy = new MemoryStream();
        stream.CopyTo(copy);
        return copy.ToArray();
    }

    private static async Task<ImageFile> DescribeAsync(string directory, string name, CancellationToken cancel)
    {
        string path = Path.Combine(directory, name);
        return new ImageFile(name, new FileInfo(path).Length, await Checksum.OfFileAsync(path, cancel).ConfigureAwait(false));
    }

    private static void Delete(string directory)
    {
        if (Directory.Exists(directory))
            Directory.Delete(directory, recursive: true);
    }

    [GeneratedRegex(@"linux-image-[0-9][A-Za-z0-9.+~-]*-cloud-amd64")]
    private static partial Regex KernelDependency();
}
