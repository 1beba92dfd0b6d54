namespace Doppel.Vmm.Snapshots;

/// <summary>The saved state of one part of a machine.</summary>
/// <param name="Name">Its section's name.</param>
/// <param name="Version">Version of its layout.</param>
/// <param name="Bytes">What it wrote.</param>
internal sealed record SavedSection(string Name, int Version, byte[] Bytes);
