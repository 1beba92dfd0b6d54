using System.Text.Json.Serialization;
using Doppel.Devices.Storage.Images;
using Doppel.Devices.Storage.Qcow2;

namespace Doppel.Cli.Commands;

/// <summary>JSON of disk images, without reflection.</summary>
[JsonSourceGenerationOptions(WriteIndented = true, PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase, DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull)]
[JsonSerializable(typeof(ImageInformation))]
[JsonSerializable(typeof(List<ImageInformation>))]
[JsonSerializable(typeof(IReadOnlyList<Qcow2Snapshot>))]
[JsonSerializable(typeof(Qcow2Snapshot))]
[JsonSerializable(typeof(Qcow2CheckResult))]
internal sealed partial class DiskJson : JsonSerializerContext;
