namespace Doppel.Devices.Storage.Qcow2;

/// <summary>What an L2 entry says.</summary>
internal enum ClusterKind
{
    /// <summary>Nothing: the backing image's bytes, or zeros.</summary>
    Unallocated,

    /// <summary>Zeros; it may have a host cluster all the same.</summary>
    Zero,

    /// <summary>A cluster of the file.</summary>
    Data,

    /// <summary>Compressed bytes in the file.</summary>
    Compressed,
}

/// <summary>Where guest bytes lie that follow each other.</summary>
/// <param name="Kind">The kind of their clusters.</param>
/// <param name="Entry">The first cluster's L2 entry.</param>
/// <param name="Offset">For data: the first byte's place in the file.</param>
/// <param name="Length">Bytes for which this holds; for compressed ones, inside one cluster.</param>
internal readonly record struct ClusterMapping(ClusterKind Kind, ulong Entry, ulong Offset, long Length);
