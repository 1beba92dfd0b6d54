using System.Text.Json.Serialization;

namespace Doppel.Vmm.Snapshots;

/// <summary>JSON of snapshots, without reflection; for people, so it is indented.</summary>
[JsonSourceGenerationOptions(
    PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase, UseStringEnumConverter = true, WriteIndented = true, DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull)]
[JsonSerializable(typeof(SnapshotManifest))]
[JsonSerializable(typeof(IReadOnlyList<SnapshotManifest>))]
public sealed partial class SnapshotJson : JsonSerializerContext;
