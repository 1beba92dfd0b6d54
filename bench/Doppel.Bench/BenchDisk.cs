namespace Doppel.Bench;

/// <summary>A disk of the machines, by virtio.</summary>
/// <param name="Variable">The variable that tells the guest its name.</param>
/// <param name="Path">Its raw image.</param>
/// <param name="IsReadOnly">True when the guest can't write to it.</param>
/// <param name="Part">What follows the disk's name: "1" for its first partition, or nothing.</param>
internal sealed record BenchDisk(string Variable, string Path, bool IsReadOnly = false, string Part = "");
