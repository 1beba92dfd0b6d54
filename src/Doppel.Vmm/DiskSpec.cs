using System.Diagnostics.CodeAnalysis;
using Doppel.Devices.Storage.Images;
using Doppel.Vmm.Limits;

namespace Doppel.Vmm;

/// <summary>A disk of a machine.</summary>
public sealed record DiskSpec
{
    /// <summary>What <see cref="TryParse"/> takes.</summary>
    public const string Choices = "FILE[,ro][,ephemeral][,overlay=FILE][,format=raw|qcow2|...][,serial=TEXT][,if=virtio|nvme|ide|ahci][,bps=SIZE][,iops=N]";

    /// <summary>Path of the image. Empty for a drive without a medium.</summary>
    public required string Path { get; init; }

    /// <summary>True when the guest can't write to it.</summary>
    public bool IsReadOnly { get; init; }

    /// <summary>True when what the guest writes is thrown away at the end; the image stays as it is, and may be shared.</summary>
    public bool IsEphemeral { get; init; }

    /// <summary>True for a file that is removed once the machine has opened it. The guest can't write to it; snapshots have a copy.</summary>
    public bool IsTemporary { get; init; }

    /// <summary>Path of an overlay that takes what the guest writes, made if there is none; null for none. The image stays as it is, and may be shared.</summary>
    public string? Overlay { get; init; }

    /// <summary>Its format; null to look at its beginning.</summary>
    public DiskFormat? Format { get; init; }

    /// <summary>The controller that shows it to the guest.</summary>
    public DiskInterface Interface { get; init; } = DiskInterface.Virtio;

    /// <summary>True for a CD drive, whose medium can be changed while the machine runs.</summary>
    public bool IsCdrom { get; init; }

    /// <summary>True for a drive whose medium can be changed.</summary>
    internal bool IsRemovable => IsCdrom || Interface == DiskInterface.Floppy;

    /// <summary>Serial number, at most 20 bytes; empty for none.</summary>
    public string Serial { get; init; } = "";

    /// <summary>Tells the disk from others when it has no serial number; null for the image's path. A disk that was copied to another host keeps what it was.</summary>
    public string? Identity { get; init; }

    /// <summary>Most bytes a second that the guest reads and writes, <see cref="DeviceLimits.SmallestBytes"/> and more; 0 for no limit.</summary>
    public ulong BytesPerSecond { get; init; }

    /// <summary>Most operations a second, <see cref="DeviceLimits.SmallestOperations"/> and more; 0 for no limit.</summary>
    public int OperationsPerSecond { get; init; }

    /// <summary>Reads what a user writes: a path, and properties separated by commas. A comma in a path is doubled.</summary>
    /// <param name="text">The text.</param>
    /// <param name="disk">The disk.</param>
    /// <param name="wrong">The word that can't be, when the text is wrong; empty for a missing path.</param>
    public static bool TryParse(string text, [NotNullWhen(true)] out DiskSpec? disk, out string wrong)
    {
        ArgumentNullException.ThrowIfNull(text);
        List<string> words = Split(text);
        wrong = "";
        disk = null;
        if (words[0].Length == 0)
            return false;
        var found = new DiskSpec { Path = words[0] };
        foreach (string word in words.Skip(1))
        {
            string[] parts = word.Split('=', 2);
            DiskSpec? next = (parts[0], parts.ElementAtOrDefault(1)) switch
            {
                ("ro", null) when !found.IsEphemeral && found.Overlay is null => found with { IsReadOnly = true },
                ("ephemeral", null) when !found.IsReadOnly && found.Overlay is null => found with { IsEphemeral = true },
                ("overlay", { Length: > 0 } path) when !found.IsReadOnly && !found.IsEphemeral => found with { Overlay = path },
                ("format", string name) when DiskFormats.Find(name) is DiskFormat format => found with { Format = format },
                ("serial", { Length: > 0 } serial) when System.Text.Encoding.UTF8.GetByteCount(serial) <= 20 => found with { Serial = serial },
                ("bps", string rate) when DeviceLimits.TryBytes(rate, out ulong bytes) => found with { BytesPerSecond = bytes },
                ("iops", string count) when DeviceLimits.TryOperations(count, out int operations) => found with { OperationsPerSecond = operations },
                ("if", string name) when FindInterface(name) is DiskInterface controller => found with { Interface = controller },
                _ => null,
            };
            if (next is null)
            {
                wrong = word;
                return false;
            }

            found = next;
        }

        disk = found;
        return true;
    }

    /// <summary>A CD drive.</summary>
    /// <param name="path">Path of the image of its disc; empty for none.</param>
    /// <param name="controller">Its controller, IDE or AHCI.</param>
    public static DiskSpec ForCdrom(string path, DiskInterface controller = DiskInterface.Ide) => new() { Path = path, IsCdrom = true, IsReadOnly = true, Interface = controller, Format = DiskFormat.Raw };

    /// <summary>A floppy drive.</summary>
    /// <param name="path">Path of the image of its diskette; empty for none.</param>
    /// <param name="isReadOnly">True for diskettes that can't be written.</param>
    public static DiskSpec ForFloppy(string path, bool isReadOnly = false) => new() { Path = path, IsReadOnly = isReadOnly, Interface = DiskInterface.Floppy, Format = DiskFormat.Raw };

    /// <summary>What the disk is where a migration has copied it to: all that the guest sees is in one image, a raw one in a drive whose medium can be changed, and what it is recognized by stays.</summary>
    /// <param name="folder">The folder of copies.</param>
    /// <param name="number">The disk's number in the machine.</param>
    /// <param name="migration">The migration.</param>
    public DiskSpec CopiedTo(string folder, int number, Guid migration) => this with
    {
        Path = System.IO.Path.Combine(folder, string.Create(System.Globalization.CultureInfo.InvariantCulture, $"disk{number}-{migration.ToString("N")[..8]}.{(IsRemovable ? "img" : "qcow2")}")),
        Format = IsRemovable ? DiskFormat.Raw : DiskFormat.Qcow2,
        Overlay = null,
        IsEphemeral = false,
        IsTemporary = false,
        Identity = Identity ?? Path,
    };

    private static DiskInterface? FindInterface(string name) => name switch
    {
        "virtio" => DiskInterface.Virtio,
        "nvme" => DiskInterface.Nvme,
        "ide" => DiskInterface.Ide,
        "ahci" or "sata" => DiskInterface.Ahci,
        _ => null,
    };

    private static List<string> Split(string text)
    {
        var words = new List<string>();
        int start = 0;
        for (int i = 0; i <= text.Length; i++)
        {
            if (i < text.Length && text[i] != ',')
                continue;
            if (i + 1 < text.Length && text[i + 1] == ',' && text[i] == ',')
            {
                i++;
                continue;
            }

            words.Add(text[start..i].Replace(",,", ",", StringComparison.Ordinal));
            start = i + 1;
        }

        return words;
    }
}
