namespace Doppel.Devices.Storage.Qcow2;

/// <summary>What one commit writes, in the order of its fields.</summary>
internal sealed class Qcow2Commit
{
    /// <summary>L2 tables that nothing in the file refers to.</summary>
    internal List<MetadataPiece> NewTables { get; } = [];

    /// <summary>Counts of clusters that have come into use.</summary>
    internal List<MetadataPiece> Counts { get; } = [];

    /// <summary>New refcount blocks, in the refcount table where it lies.</summary>
    internal List<MetadataPiece> CountEntries { get; } = [];

    /// <summary>A refcount table that has outgrown its place, whole; null for none.</summary>
    internal byte[]? MovedTable { get; set; }

    /// <summary>The first cluster of its new place.</summary>
    internal ulong MovedTo { get; set; }

    /// <summary>L2 tables that the file knows.</summary>
    internal List<MetadataPiece> Tables { get; } = [];

    /// <summary>Parts of the active L1 table.</summary>
    internal List<MetadataPiece> L1 { get; } = [];

    /// <summary>Clusters that the above no longer refers to.</summary>
    internal List<(ulong Cluster, bool IsPunched)> Freed { get; set; } = [];

    /// <summary>Those of them that are then unused, with those of a commit that failed at its very end.</summary>
    internal List<ulong> Retired { get; set; } = [];

    /// <summary>Those of them whose space goes back to the host.</summary>
    internal List<ulong> Punched { get; } = [];

    /// <summary>The counts of what was freed.</summary>
    internal List<MetadataPiece> CountsAfter { get; } = [];

    internal bool IsEmpty =>
        NewTables.Count + Counts.Count + CountEntries.Count + Tables.Count + L1.Count + Freed.Count + Retired.Count == 0 && MovedTable is null;
}
