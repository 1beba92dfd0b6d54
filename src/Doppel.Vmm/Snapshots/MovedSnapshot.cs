using System.Security.Cryptography;
using System.Text;
using System.Text.Json;
using Doppel.Host.Files;

namespace Doppel.Vmm.Snapshots;

/// <summary>Changes the paths in a snapshot whose machine's folder has another name.</summary>
internal static class MovedSnapshot
{
    /// <summary>Rewrites the manifest. What is damaged stays as it is; one that was rewritten but for its checksum is completed.</summary>
    /// <param name="folder">The snapshot's folder, where it is now.</param>
    /// <param name="from">The machine's folder as it was.</param>
    /// <param name="to">As it is.</param>
    /// <exception cref="IOException">The host refuses.</exception>
    internal static void Rewrite(string folder, string from, string to)
    {
        string file = Path.Combine(folder, SnapshotFolder.ManifestFile), sum = Path.Combine(folder, SnapshotFolder.ChecksumFile);
        if (!File.Exists(file) || !File.Exists(sum))
            return;
        byte[] json = File.ReadAllBytes(file);
        bool isWhole = File.ReadAllText(sum).StartsWith(Sum(json), StringComparison.Ordinal);
        SnapshotManifest? manifest;
        try
        {
            manifest = MachineSpecJson.Read(json, SnapshotJson.Default.SnapshotManifest, "machine");
        }
        catch (Exception e) when (e is JsonException or SpecException)
        {
            return;
        }

        if (manifest is null)
            return;
        byte[] moved = JsonSerializer.SerializeToUtf8Bytes(
            manifest with
            {
                Machine = manifest.Machine.Moved(from, to),
                Disks = [.. manifest.Disks.Select(disk => disk with { Path = MachinePaths.PathMoved(disk.Path, from, to) })],
            },
            SnapshotJson.Default.SnapshotManifest);
        if (!isWhole && !moved.AsSpan().SequenceEqual(json))
            return;
        AtomicFile.Write(file, moved);
        AtomicFile.Write(sum, Encoding.ASCII.GetBytes($"{Sum(moved)}  {SnapshotFolder.ManifestFile}\n"));
    }

    private static string Sum(byte[] json) => Convert.ToHexStringLower(SHA256.HashData(json));
}
