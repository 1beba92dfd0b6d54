using Doppel.Devices.Storage.Qcow2;

namespace Doppel.Devices.Storage.Images;

/// <summary>What a new image is like. What a format doesn't have is refused.</summary>
public sealed record DiskCreateOptions
{
    /// <summary>The format.</summary>
    public required DiskFormat Format { get; init; }

    /// <summary>Bytes of the disk; null for those of the backing image.</summary>
    public ulong? Length { get; init; }

    /// <summary>Path of the image behind it; null for none. Qcow2 only.</summary>
    public string? Backing { get; init; }

    /// <summary>Its format; null to look at its beginning.</summary>
    public DiskFormat? BackingFormat { get; init; }

    /// <summary>Bytes of a cluster; null for the format's own choice. Qcow2 only.</summary>
    public int? ClusterSize { get; init; }

    /// <summary>Version of the format; null for the newest. Qcow2 only.</summary>
    public int? Version { get; init; }

    /// <summary>How clusters will be compressed. Qcow2 only.</summary>
    public Qcow2Compression Compression { get; init; }

    /// <summary>True to write counts only when the image is closed. Qcow2 only.</summary>
    public bool HasLazyRefcounts { get; init; }

    /// <summary>True to reserve all space at once. Raw only.</summary>
    public bool IsReserved { get; init; }
}
