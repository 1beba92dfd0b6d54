namespace Doppel.Devices.Storage.Qcow2;

/// <summary>What a check of an image has found.</summary>
public sealed record Qcow2CheckResult
{
    /// <summary>Contradictions that may cost data: a cluster in use that is counted too low, a table out of place.</summary>
    public required IReadOnlyList<string> Errors { get; init; }

    /// <summary>Number of errors; the list ends after the first hundred.</summary>
    public required long ErrorCount { get; init; }

    /// <summary>Clusters that are counted higher than they are used: wasted space, no harm.</summary>
    public required long Leaks { get; init; }

    /// <summary>Guest clusters that have a place in the file.</summary>
    public required long AllocatedClusters { get; init; }

    /// <summary>Those of them that are compressed.</summary>
    public required long CompressedClusters { get; init; }

    /// <summary>Those of them that don't follow the one before.</summary>
    public required long FragmentedClusters { get; init; }

    /// <summary>Guest clusters in all.</summary>
    public required long TotalClusters { get; init; }

    /// <summary>The end of the last cluster in use.</summary>
    public required ulong EndOffset { get; init; }

    /// <summary>True when the header says that counts may be wrong, as after a kill; the next writer counts anew.</summary>
    public required bool IsMarkedDirty { get; init; }

    /// <summary>True when the header says that the image is damaged.</summary>
    public required bool IsMarkedCorrupt { get; init; }
}
