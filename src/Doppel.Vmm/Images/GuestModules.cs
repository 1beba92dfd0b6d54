namespace Doppel.Vmm.Images;

/// <summary>
/// The kernel modules that the default guest needs for its virtio devices and its power button, taken out of the kernel's package. Later Debian
/// kernels compress them with xz, which the host unpacks: the guest's insmod can't. A kernel that has one built in has no
/// file for it, which is as good.
/// </summary>
/// <param name="directory">Where they are put.</param>
internal sealed class GuestModules(string directory)
{
    private const string Root = "lib/modules/";

    // Each after those that it needs.
    private static readonly string[] Wanted =
    [
        "virtio_ring", "virtio", "virtio_pci_legacy_dev", "virtio_pci_modern_dev", "virtio_pci",
        "virtio_blk", "rng-core", "virtio-rng", "virtio_console", "virtio_balloon", "failover", "net_failover", "virtio_net",
        "fuse", "virtiofs", "virtio_mmio", "vsock", "vmw_vsock_virtio_transport_common", "vmw_vsock_virtio_transport",
        "evdev", "button",
    ];

    /// <summary>Where a file of the kernel's package is wanted; null when it isn't.</summary>
    internal string? TargetOf(string path)
    {
        string file = path[(path.LastIndexOf('/') + 1)..];
        bool isModule = (path.StartsWith(Root, StringComparison.Ordinal) || path.StartsWith("usr/" + Root, StringComparison.Ordinal))
            && (file.EndsWith(".ko", StringComparison.Ordinal) || file.EndsWith(".ko.xz", StringComparison.Ordinal));
        return isModule && Wanted.Contains(file[..file.IndexOf(".ko", StringComparison.Ordinal)]) ? Path.Combine(directory, file) : null;
    }

    /// <summary>The modules that there are, each after those that it needs.</summary>
    /// <exception cref="ImageException">They can't be unpacked.</exception>
    internal async Task<IReadOnlyList<(string Name, byte[] Content)>> ReadAsync(CancellationToken cancel)
    {
        var modules = new List<(string, byte[])>();
        foreach (string name in Wanted)
        {
            string plain = Path.Combine(directory, name + ".ko"), packed = plain + ".xz";
            if (File.Exists(plain))
                modules.Add((name, await File.ReadAllBytesAsync(plain, cancel).ConfigureAwait(false)));
            else if (File.Exists(packed))
                modules.Add((name, await UnpackAsync(packed, cancel).ConfigureAwait(false)));
        }

        return modules;
    }

    private static async Task<byte[]> UnpackAsync(string packed, CancellationToken cancel)
    {
        if (HostTool.Find("xz") is not string xz)
            throw new ImageException(ImageError.Host, $"{Path.GetFileName(packed)}: unpacking it needs xz; install it (xz-utils)");
        await using FileStream input = File.OpenRead(packed);
        using var output = new MemoryStream();
        HostToolResult result = await HostTool.FilterAsync(xz, ["-dc"], input, output, cancel).ConfigureAwait(false);
        return result.ExitCode == 0
            ? output.ToArray()
            : throw new ImageException(ImageError.Content, $"{Path.GetFileName(packed)}: the module is damaged: {result.FirstError}");
    }
}
