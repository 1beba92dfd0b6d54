using System.Text.Json.Serialization;

namespace Doppel.Cli.Commands;

/// <summary>A CPU model in a list.</summary>
/// <param name="Name">Its name.</param>
/// <param name="RunsHere">True when this host can execute its instructions.</param>
/// <param name="Description">In a few words.</param>
internal sealed record CpuModelSummary(string Name, bool RunsHere, string Description);

/// <summary>A CPU model in detail.</summary>
/// <param name="Name">Its name.</param>
/// <param name="Description">In a few words.</param>
/// <param name="RunsHere">True when this host can execute its instructions.</param>
/// <param name="Signature">CPUID.1:EAX.</param>
/// <param name="PhysicalAddressBits">MAXPHYADDR.</param>
/// <param name="Features">Names of the features.</param>
internal sealed record CpuModelDetail(string Name, string Description, bool RunsHere, uint Signature, int PhysicalAddressBits, IReadOnlyList<string> Features);

/// <summary>JSON of CPU models, without reflection.</summary>
[JsonSourceGenerationOptions(WriteIndented = true, PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase)]
[JsonSerializable(typeof(CpuModelSummary[]))]
[JsonSerializable(typeof(CpuModelDetail))]
internal sealed partial class CpuJson : JsonSerializerContext;
