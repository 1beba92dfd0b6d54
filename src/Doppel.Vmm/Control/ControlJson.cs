using System.Text.Json;
using System.Text.Json.Serialization;

namespace Doppel.Vmm.Control;

/// <summary>JSON of the control socket, without reflection.</summary>
[JsonSourceGenerationOptions(PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase, UseStringEnumConverter = true, DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull)]
[JsonSerializable(typeof(ControlRequest))]
[JsonSerializable(typeof(ControlReply))]
[JsonSerializable(typeof(SnapshotReport))]
[JsonSerializable(typeof(BalloonReport))]
[JsonSerializable(typeof(IReadOnlyList<MachineStatistics>))]
public sealed partial class ControlJson : JsonSerializerContext
{
    /// <summary>The same, indented for people.</summary>
    public static ControlJson Indented => field ??= new ControlJson(new JsonSerializerOptions(Default.Options) { WriteIndented = true });
}
