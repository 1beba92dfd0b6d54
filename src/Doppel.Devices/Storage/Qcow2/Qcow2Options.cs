namespace Doppel.Devices.Storage.Qcow2;

/// <summary>What a new qcow2 image is like.</summary>
public sealed record Qcow2Options
{
    /// <summary>Bytes of the disk; rounded up to a sector.</summary>
    public required ulong Length { get; init; }

    /// <summary>Bytes of a cluster: a power of two, 512 to 2 MiB.</summary>
    public int ClusterSize { get; init; } = 65536;

    /// <summary>2 or 3.</summary>
    public int Version { get; init; } = 3;

    /// <summary>Bits of a count: 1, 2, 4, 8, 16, 32 or 64; version 2 has 16.</summary>
    public int RefcountBits { get; init; } = 16;

    /// <summary>True to write counts only when the image is closed; after a kill they are made anew. Version 3.</summary>
    public bool HasLazyRefcounts { get; init; }

    /// <summary>How clusters are compressed when they are; Zstandard needs version 3.</summary>
    public Qcow2Compression Compression { get; init; }

    /// <summary>The backing image's path, as the image will name it: relative to the image's directory; null for none.</summary>
    public string? BackingName { get; init; }

    /// <summary>The backing image's format.</summary>
    public string? BackingFormat { get; init; }
}
