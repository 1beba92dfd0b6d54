namespace Doppel.Vmm.Snapshots;

/// <summary>What saving a machine came to.</summary>
/// <param name="Manifest">The snapshot.</param>
/// <param name="Folder">Where it is.</param>
/// <param name="Stopped">How long the machine stood still.</param>
/// <param name="LongestCheck">The longest of the short stops before that, in which its dirty pages were collected.</param>
/// <param name="BytesWritten">Bytes of memory written to the snapshot.</param>
public sealed record SaveResult(SnapshotManifest Manifest, string Folder, TimeSpan Stopped, TimeSpan LongestCheck, ulong BytesWritten);
