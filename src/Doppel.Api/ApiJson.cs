using System.Text.Json;
using System.Text.Json.Serialization;
using Doppel.Vmm;
using Doppel.Vmm.Control;
using Doppel.Vmm.Migration;
using Doppel.Vmm.Snapshots;

namespace Doppel.Api;

/// <summary>JSON of the API and of machines' folders, without reflection; indented, for people read it too.</summary>
[JsonSourceGenerationOptions(
    PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase,
    UseStringEnumConverter = true,
    WriteIndented = true,
    DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull,
    RespectNullableAnnotations = true,
    UnmappedMemberHandling = JsonUnmappedMemberHandling.Disallow)]
[JsonSerializable(typeof(MachineRecord))]
[JsonSerializable(typeof(WorkerRecord))]
[JsonSerializable(typeof(ExitRecord))]
[JsonSerializable(typeof(WorkerOrder))]
[JsonSerializable(typeof(PagerOrder))]
[JsonSerializable(typeof(Doppel.Vmm.Migration.PostCopy.PagedMemory))]
[JsonSerializable(typeof(MachineView))]
[JsonSerializable(typeof(IReadOnlyList<MachineView>))]
[JsonSerializable(typeof(CreateRequest))]
[JsonSerializable(typeof(UpdateRequest))]
[JsonSerializable(typeof(RenameRequest))]
[JsonSerializable(typeof(SnapshotRequest))]
[JsonSerializable(typeof(SnapshotReport))]
[JsonSerializable(typeof(InputRequest))]
[JsonSerializable(typeof(CloneRequest))]
[JsonSerializable(typeof(SuspendRequest))]
[JsonSerializable(typeof(Operation))]
[JsonSerializable(typeof(IReadOnlyList<Operation>))]
[JsonSerializable(typeof(BalloonReport))]
[JsonSerializable(typeof(SnapshotManifest))]
[JsonSerializable(typeof(IReadOnlyList<SnapshotManifest>))]
[JsonSerializable(typeof(IReadOnlyList<string>))]
[JsonSerializable(typeof(MachineStatistics))]
[JsonSerializable(typeof(MigrateRequest))]
[JsonSerializable(typeof(MigrationProgress))]
[JsonSerializable(typeof(MigrationAddress))]
[JsonSerializable(typeof(ArrivalRequest))]
[JsonSerializable(typeof(ArrivalOutcome))]
[JsonSerializable(typeof(HandoverRecord))]
[JsonSerializable(typeof(PermitRecord))]
[JsonSerializable(typeof(ArrivingRecord))]
[JsonSerializable(typeof(AcceptedRecord))]
[JsonSerializable(typeof(ApiError))]
[JsonSerializable(typeof(MachineEvent))]
[JsonSerializable(typeof(DaemonView))]
public sealed partial class ApiJson : JsonSerializerContext
{
    /// <summary>The same on one line, for events.</summary>
    public static ApiJson Compact => field ??= new ApiJson(new JsonSerializerOptions(Default.Options) { WriteIndented = false });
}
