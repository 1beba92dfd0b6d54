using System.Text.Json.Serialization;

namespace Doppel.Vmm.Machines;

/// <summary>What is known of a kept machine: the machine.json in its directory.</summary>
public sealed record KeptMachineDescription
{
    /// <summary>File name of a description.</summary>
    public const string FileName = "machine.json";

    /// <summary>Name of the image that it was made from.</summary>
    public required string Image { get; init; }

    /// <summary>When that image was made, UTC.</summary>
    public required DateTimeOffset ImageCreated { get; init; }

    /// <summary>When the machine was made, UTC.</summary>
    public required DateTimeOffset Created { get; init; }

    /// <summary>Tells the guest that it is the same machine as before (cloud-init's instance-id).</summary>
    public required Guid Id { get; init; }

    /// <summary>Command line that the guest needs.</summary>
    public required string CommandLine { get; init; }
}

/// <summary>JSON of kept machines, without reflection.</summary>
[JsonSourceGenerationOptions(WriteIndented = true, PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase)]
[JsonSerializable(typeof(KeptMachineDescription))]
public sealed partial class KeptMachineJson : JsonSerializerContext;
