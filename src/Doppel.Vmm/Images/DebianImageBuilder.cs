using System.Formats.Tar;
using System.Reflection;
using System.Text.Json;
using System.Text.RegularExpressions;
using Doppel.Host.Files;

namespace Doppel.Vmm.Images;

/// <summary>
/// Makes a whole Debian system with systemd, as a kernel and a root disk with one partition, ext4. mmdebstrap installs the packages, as root
/// or in a user namespace or under fakechroot, whichever the host allows; mke2fs writes the file system from a directory.
/// Nothing is mounted and no right of root is needed.
/// </summary>
public sealed partial class DebianImageBuilder
{
    /// <summary>Name of the image, unless it is given another.</summary>
    public const string ImageName = "debian";

    /// <summary>File name of the root disk.</summary>
    public const string DiskFile = "root.img";


    private const int PartitionOffset = 1 << 20;
    private const string Resources = "Doppel.Vmm.Images.Guest.";
    private const string SystemResources = Resources + "system/";
    private const string ProgramDirectory = "usr/lib/doppel/";
    private const UnixFileMode Readable = (UnixFileMode)0x1A4, Executable = (UnixFileMode)0x1ED;

    // In the order of what they are for: init and devices, network, logging in, the first boot, working.
    private static readonly string[] Packages =
    [
        "linux-image-cloud-amd64", "systemd-sysv", "udev", "kmod", "dbus", "libpam-systemd",
        "systemd-resolved", "iproute2", "iputils-ping", "netbase", "ca-certificates",
        "openssh-server", "sudo",
        "cloud-init",
        "procps", "less", "nano", "curl",
    ];

    // Programs that the quick guest has, too.
    private static readonly string[] SharedPrograms = ["volumes", "window-size"];

    // Unit files by what wants them, and those that are of no use in a guest: they would only cost the first minutes.
    private static readonly (string Link, string Target)[] Links =
    [
        ("etc/systemd/system/multi-user.target.wants/doppel-settings.service", "/etc/systemd/system/doppel-settings.service"),
        ("etc/systemd/system/multi-user.target.wants/doppel-volumes.service", "/etc/systemd/system/doppel-volumes.service"),
        ("etc/systemd/system/multi-user.target.wants/doppel-window-size.service", "/etc/systemd/system/doppel-window-size.service"),
        ("etc/systemd/system/multi-user.target.wants/systemd-networkd.service", "/lib/systemd/system/systemd-networkd.service"),
        ("etc/systemd/system/sockets.target.wants/systemd-networkd.socket", "/lib/systemd/system/systemd-networkd.socket"),
        ("etc/systemd/system/network-online.target.wants/systemd-networkd-wait-online.service", "/lib/systemd/system/systemd-networkd-wait-online.service"),
        ("etc/resolv.conf", "../run/systemd/resolve/stub-resolv.conf"),
        ("etc/systemd/system/apt-daily.timer", "/dev/null"),
        ("etc/systemd/system/apt-daily-upgrade.timer", "/dev/null"),
        ("etc/systemd/system/e2scrub_all.timer", "/dev/null"),
        ("etc/systemd/system/e2scrub_reap.service", "/dev/null"),
        ("etc/systemd/system/systemd-pstore.service", "/dev/null"),
    ];

    private readonly ImageStore _store;

    /// <summary>Makes images for a cache.</summary>
    public DebianImageBuilder(ImageStore store) => _store = store;

    /// <summary>Makes the image and puts it into the cache in place of an older one of its name.</summary>
    /// <param name="options">What it is made of.</param>
    /// <param name="progress">Told what is being done.</param>
    /// <param name="cancel">Stops; nothing is left behind.</param>
    /// <exception cref="ImageException">It can't be had; the message says what to do.</exception>
    public async Task<GuestImage> BuildAsync(DebianImageOptions options, IProgress<ImageProgress> progress, CancellationToken cancel)
    {
        ArgumentNullException.ThrowIfNull(options);
        Check(options);
        bool isRoot = PrivateDirectory.UserId == 0;
        string installer = Need("mmdebstrap", "mmdebstrap"), fileSystem = Need("mke2fs", "e2fsprogs");
        if (!isRoot)
            _ = Need("fakeroot", "fakeroot");
        using FileStream hold = _store.Hold(options.Name);
        string work = _store.CreateWorkDirectory(options.Name);
        string temporary = work + ".tree";
        try
        {
            _ = Directory.CreateDirectory(temporary);
            string archive = Path.Combine(temporary, "root.tar"), additions = Path.Combine(temporary, "additions.tar"), pack = Path.Combine(temporary, "pack"), disk = Path.Combine(work, DiskFile);
            await InstallAsync(installer, options, archive, progress, cancel).ConfigureAwait(false);
            progress.Report(new ImageProgress("making the file system", null));
            await WriteAdditionsAsync(additions, cancel).ConfigureAwait(false);
            await File.WriteAllBytesAsync(pack, Resource(Resources + "pack"), cancel).ConfigureAwait(false);
            string[] command = ["/bin/sh", pack, archive, additions, Path.Combine(temporary, "tree"), disk, $"{PartitionOffset}", $"{(options.Size - PartitionOffset) >> 10}k", fileSystem];
            HostToolResult packed = isRoot
                ? await HostTool.RunAsync(command[0], command[1..], null, null, cancel).ConfigureAwait(false)
                : await HostTool.RunAsync("fakeroot", ["--", .. command], null, null, cancel).ConfigureAwait(false);
            if (packed.ExitCode != 0)
                throw new ImageException(ImageError.Host, $"the file system can't be made: {packed.FirstError}; more room in {_store.Root}, or a larger --size, would be right");
            uint signature = (uint)Random.Shared.NextInt64(1, uint.MaxValue);
            PartitionTable.Write(disk, signature, PartitionOffset, options.Size);
            IReadOnlyList<ImagePackage> packages = ReadPackages(Path.Combine(temporary, "tree", "var", "lib", "dpkg", "status"));
            var files = new List<ImageFile> { new(DiskFile, options.Size, null) };
            foreach (string name in (string[])[GuestImage.KernelFile, GuestImage.InitrdFile])
            {
                string path = Path.Combine(work, name);
                if (File.Exists(path))
                    files.Add(new ImageFile(name, new FileInfo(path).Length, await Checksum.OfFileAsync(path, cancel).ConfigureAwait(false)));
            }

            var manifest = new ImageManifest
            {
                Name = options.Name,
                Created = DateTimeOffset.UtcNow,
                KernelVersion = packages.Select(p => KernelPackage().Match(p.Name)).FirstOrDefault(m => m.Success)?.Groups[1].Value
                    ?? throw new ImageException(ImageError.Content, $"{options.Suite} has no linux-image-*-amd64"),
                // By its partition, since controllers may be found in any order.
                CommandLine = $"root=PARTUUID={signature:x8}-01 rootwait rw console=ttyS0 panic=-1",
                Disk = DiskFile,
                Packages = packages,
                Files = files,
            };
            await using (FileStream stream = File.Create(Path.Combine(work, ImageManifest.FileName)))
                await JsonSerializer.SerializeAsync(stream, manifest, ImageJson.Default.ImageManifest, cancel).ConfigureAwait(false);
            cancel.ThrowIfCancellationRequested();
            return _store.Publish(options.Name, work);
        }
        finally
        {
            Delete(work);
            Delete(temporary);
        }
    }

    /// <summary>The files that are added to what the packages bring, as a tar archive in which all belongs to root.</summary>
    internal static async Task WriteAdditionsAsync(string path, CancellationToken cancel)
    {
        await using FileStream file = File.Create(path);
        await using var tar = new TarWriter(file, TarEntryFormat.Ustar);
        IEnumerable<(string Path, string Resource)> files = Assembly.GetExecutingAssembly().GetManifestResourceNames()
            .Where(n => n.StartsWith(SystemResources, StringComparison.Ordinal))
            .Select(n => (n[SystemResources.Length..], n))
            .Concat(SharedPrograms.Select(n => (ProgramDirectory + n, Resources + n)))
            .OrderBy(f => f.Item1, StringComparer.Ordinal);
        foreach ((string name, string resource) in files)
        {
            byte[] content = Resource(resource);
            var entry = new UstarTarEntry(TarEntryType.RegularFile, name)
            {
                Mode = content.AsSpan().StartsWith("#!"u8) ? Executable : Readable,
                DataStream = new MemoryStream(content),
            };
            await tar.WriteEntryAsync(entry, cancel).ConfigureAwait(false);
        }

        foreach ((string link, string target) in Links)
            await tar.WriteEntryAsync(new UstarTarEntry(TarEntryType.SymbolicLink, link) { LinkName = target }, cancel).ConfigureAwait(false);
    }

    private static async Task InstallAsync(string installer, DebianImageOptions options, string archive, IProgress<ImageProgress> progress, CancellationToken cancel)
    {
        progress.Report(new ImageProgress("installing the system", null));
        List<string> arguments =
        [
            "--format=tar", "--variant=minbase", "--architectures=amd64",
            $"--include={string.Join(',', Packages.Concat(options.Packages))}",
            // For the time of the installation alone: manuals and translations would take a third of the space.
            "--dpkgopt=path-exclude=/usr/share/man/*", "--dpkgopt=path-exclude=/usr/share/locale/*",
            "--dpkgopt=path-exclude=/usr/share/doc/*", "--dpkgopt=path-include=/usr/share/doc/*/copyright",
            "--aptopt=Acquire::Retries \"2\"", "--aptopt=Acquire::Languages \"none\"",
        ];
        if (!options.RequiresSignature)
            arguments.Add("--aptopt=Acquire::AllowInsecureRepositories \"true\"");
        arguments.Add(options.Suite);
        arguments.Add(archive);
        if (options.Mirror is string mirror)
            arguments.Add($"deb {(options.RequiresSignature ? "" : "[trusted=yes] ")}{mirror} {options.Suite} main");
        HostToolResult result = await HostTool.RunAsync(installer, arguments, null, null, cancel, line => Report(progress, line), ends: true).ConfigureAwait(false);
        if (result.ExitCode != 0)
            throw new ImageException(ImageError.Network, $"the system can't be installed: {result.FirstError}; check the network, --suite, --packages and --mirror");
    }

    // mmdebstrap says what it does in lines "I: running apt-get update...".
    private static void Report(IProgress<ImageProgress> progress, string line)
    {
        if (line.StartsWith("I: ", StringComparison.Ordinal) && line.EndsWith("...", StringComparison.Ordinal))
            progress.Report(new ImageProgress(line[3..^3], null));
    }

    private static void Check(DebianImageOptions options)
    {
        if (options.Name == BusyboxImageBuilder.ImageName)
            throw new ImageException(ImageError.Unknown, $"--name {options.Name}: that is the quick guest's; another name would be right");
        if (!Word().IsMatch(options.Suite))
            throw new ImageException(ImageError.Unknown, $"--suite \"{options.Suite}\": a code name such as bookworm would be right");
        if (options.Packages.FirstOrDefault(p => !Word().IsMatch(p)) is string package)
            throw new ImageException(ImageError.Unknown, $"--packages \"{package}\": names of Debian packages, separated by commas, would be right");
        if (options.Size < DebianImageOptions.MinimumSize || options.Size % (1 << 20) != 0)
            throw new ImageException(ImageError.Unknown, $"--size {options.Size}: {DebianImageOptions.MinimumSize >> 30}G or more, in whole MiB, would be right");
        if (options.Mirror is string mirror && (!Uri.TryCreate(mirror, UriKind.Absolute, out Uri? url) || url.Scheme is not ("http" or "https" or "file") || mirror.AsSpan().ContainsAny(' ', '\n', ']')))
            throw new ImageException(ImageError.Unknown, $"--mirror {mirror}: not the URL of a mirror; http://HOST/debian, https://HOST/debian or file:///DIRECTORY would be right");
    }

    private static string Need(string program, string package) =>
        HostTool.Find(program) ?? HostTool.FindIn("/usr/sbin:/sbin", program)
        ?? throw new ImageException(ImageError.Host, $"{program} is needed to make a Debian system; install the package {package}");

    private static IReadOnlyList<ImagePackage> ReadPackages(string status)
    {
        using StreamReader reader = File.OpenText(status);
        return [.. DebControl.Read(reader)
            .Where(p => p.GetValueOrDefault("Status")?.EndsWith(" installed", StringComparison.Ordinal) == true)
            .Select(p => new ImagePackage(p["Package"], p["Version"], null))];
    }

    private static byte[] Resource(string name)
    {
        using Stream stream = Assembly.GetExecutingAssembly().GetManifestResourceStream(name)
            ?? throw new InvalidOperationException($"resource {name} is missing from the assembly");
        using var copy = new MemoryStream();
        stream.CopyTo(copy);
        return copy.ToArray();
    }

    private static void Delete(string directory)
    {
        if (Directory.Exists(directory))
            Directory.Delete(directory, recursive: true);
    }

    [GeneratedRegex(@"^linux-image-([0-9].*-amd64)$")]
    private static partial Regex KernelPackage();

    [GeneratedRegex(@"^[a-zA-Z0-9][a-zA-Z0-9+.:~-]*$")]
    private static partial Regex Word();
}
