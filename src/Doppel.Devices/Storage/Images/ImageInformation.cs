using Doppel.Devices.Storage.Qcow2;

namespace Doppel.Devices.Storage.Images;

/// <summary>What there is to know of an image without reading its disk.</summary>
public sealed record ImageInformation
{
    /// <summary>Its path.</summary>
    public required string Path { get; init; }

    /// <summary>Its format.</summary>
    public required string Format { get; init; }

    /// <summary>Bytes of the disk.</summary>
    public required ulong Length { get; init; }

    /// <summary>Bytes that the file takes on the host; null for what is no file.</summary>
    public required ulong? HostBytes { get; init; }

    /// <summary>Version of a qcow2 image.</summary>
    public int? Version { get; init; }

    /// <summary>Bytes of a cluster of a qcow2 image.</summary>
    public int? ClusterSize { get; init; }

    /// <summary>How a qcow2 image compresses.</summary>
    public string? Compression { get; init; }

    /// <summary>Bits of a qcow2 image's counts.</summary>
    public int? RefcountBits { get; init; }

    /// <summary>True when a qcow2 image writes its counts when it is closed.</summary>
    public bool? HasLazyRefcounts { get; init; }

    /// <summary>True when a qcow2 image was not closed; its counts are made anew when it is next written.</summary>
    public bool? IsMarkedDirty { get; init; }

    /// <summary>True when a qcow2 image is marked as damaged.</summary>
    public bool? IsMarkedCorrupt { get; init; }

    /// <summary>The image behind it, as it names it.</summary>
    public string? Backing { get; init; }

    /// <summary>The path of the image behind it.</summary>
    public string? BackingPath { get; init; }

    /// <summary>The format of the image behind it.</summary>
    public string? BackingFormat { get; init; }

    /// <summary>Internal snapshots.</summary>
    public IReadOnlyList<Qcow2Snapshot>? Snapshots { get; init; }

    /// <summary>Looks at an image.</summary>
    /// <param name="path">Its path.</param>
    /// <param name="format">Its format; null to look at its beginning.</param>
    /// <param name="isShared">True to look although someone else may be writing.</param>
    /// <exception cref="DiskImageException">It can't be opened.</exception>
    public static ImageInformation Read(string path, DiskFormat? format, bool isShared)
    {
        using DiskImage image = DiskImages.Open(path, new DiskOpenOptions { Format = format, IsReadOnly = true, IsShared = isShared, IsWithoutBacking = true });
        var information = new ImageInformation { Path = path, Format = image.Format.GetName(), Length = image.Length, HostBytes = Overlays.IsAddress(path) ? null : ImageFile.AllocatedBytes(path) };
        if (image is not Qcow2Image qcow2)
            return information;
        Qcow2Header header = qcow2.Header;
        return information with
        {
            Version = header.Version,
            ClusterSize = header.ClusterSize,
            Compression = header.Compression == Qcow2Compression.Deflate ? "deflate" : "zstd",
            RefcountBits = 1 << header.RefcountOrder,
            HasLazyRefcounts = (header.Compatible & Qcow2Features.LazyRefcounts) != 0,
            IsMarkedDirty = (header.Incompatible & Qcow2Features.Dirty) != 0,
            IsMarkedCorrupt = (header.Incompatible & Qcow2Features.Corrupt) != 0,
            Backing = header.BackingName,
            BackingPath = header.BackingName is null ? null : Qcow2Image.ResolveBacking(path, header.BackingName),
            BackingFormat = header.BackingFormat,
            Snapshots = qcow2.Snapshots,
        };
    }
}
