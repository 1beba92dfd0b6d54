namespace Doppel.Devices.Storage.Qcow2;

/// <summary>Bytes of a table as they were when a commit began.</summary>
/// <param name="Table">The table; null for one that is always wholly in memory.</param>
/// <param name="Offset">Where in the file.</param>
/// <param name="Data">The bytes.</param>
internal sealed record MetadataPiece(CachedTable? Table, ulong Offset, byte[] Data);
