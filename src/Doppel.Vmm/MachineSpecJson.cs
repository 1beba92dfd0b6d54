using System.Text.Json;
using System.Text.Json.Nodes;
using System.Text.Json.Serialization;
using System.Text.Json.Serialization.Metadata;

namespace Doppel.Vmm;

/// <summary>Reads JSON that holds a <see cref="MachineSpec"/>: what is absent, because a person left it out or an older Doppel did not know it, has its default.</summary>
public static class MachineSpecJson
{
    /// <summary>Properties whose own default is another than their type's.</summary>
    internal static readonly string[]
        OfMachine = ["name", "cpus", "cpuWeight", "memory", "cpuModel", "engine", "codeCache", "tlbSpaces", "kernel", "bootOrder", "commandLine", "disks", "volumes", "networks", "serialPorts", "clock", "rebootOnReset", "watchForPanic"],
        OfDisk = ["interface", "serial"],
        OfNetwork = ["kind", "name", "forwards"],
        OfVnc = ["address"];

    /// <summary>Reads an object with a specification in one of its properties.</summary>
    /// <param name="json">UTF-8.</param>
    /// <param name="type">How the object is read.</param>
    /// <param name="property">The specification's property.</param>
    /// <returns>Null for a JSON null.</returns>
    /// <exception cref="JsonException">It can't be; the exception says where.</exception>
    public static T? Read<T>(ReadOnlyMemory<byte> json, JsonTypeInfo<T> type, string property)
        where T : class
    {
        // What is wrong is found here, with its line.
        T? read = JsonSerializer.Deserialize(json.Span, type);
        // Twice as fast, for what Doppel has written: each worker that starts reads two.
        if (IsComplete(json, property))
            return read;
        try
        {
            // The serializer gives properties without setters that are absent their type's default instead of their own.
            JsonNode? root = JsonNode.Parse(json.Span);
            if (root is not JsonObject whole || whole[property] is not JsonObject spec)
                return read;
            var defaults = new MachineSpec();
            Complete(spec, JsonSerializer.SerializeToNode(defaults, SpecContext.Default.MachineSpec)!.AsObject());
            CompleteAll(spec["disks"], new DiskSpec { Path = "" }, SpecContext.Default.DiskSpec);
            if (spec["vnc"] is JsonObject vnc)
                Complete(vnc, JsonSerializer.SerializeToNode(new VncSpec(), SpecContext.Default.VncSpec)!.AsObject());
            CompleteAll(spec["networks"], new NetworkSpec(), SpecContext.Default.NetworkSpec);
            return root.Deserialize(type);
        }
        catch (ArgumentException e)
        {
            throw new JsonException($"a property is there twice: {e.Message}", e);
        }
    }

    // False, too, for what is there twice, of which the other way says what is wrong.
    private static bool IsComplete(ReadOnlyMemory<byte> json, string property)
    {
        try
        {
            using var whole = JsonDocument.Parse(json, new JsonDocumentOptions { AllowDuplicateProperties = false });
            return whole.RootElement.ValueKind == JsonValueKind.Object && whole.RootElement.TryGetProperty(property, out JsonElement spec)
                && Has(spec, OfMachine) && HasAll(spec, "disks", OfDisk) && HasAll(spec, "networks", OfNetwork)
                && (!spec.TryGetProperty("vnc", out JsonElement vnc) || vnc.ValueKind == JsonValueKind.Null || Has(vnc, OfVnc));
        }
        catch (JsonException)
        {
            return false;
        }
    }

    private static bool Has(JsonElement given, string[] names)
    {
        if (given.ValueKind != JsonValueKind.Object)
            return false;
        foreach (string name in names)
        {
            if (!given.TryGetProperty(name, out _))
                return false;
        }

        return true;
    }

    private static bool HasAll(JsonElement spec, string list, string[] names)
    {
        if (!spec.TryGetProperty(list, out JsonElement all) || all.ValueKind != JsonValueKind.Array)
            return false;
        foreach (JsonElement one in all.EnumerateArray())
        {
            if (!Has(one, names))
                return false;
        }

        return true;
    }

    private static void CompleteAll<T>(JsonNode? given, T defaults, JsonTypeInfo<T> type)
    {
        foreach (JsonNode? each in given as JsonArray ?? [])
        {
            if (each is JsonObject one)
                Complete(one, JsonSerializer.SerializeToNode(defaults, type)!.AsObject());
        }
    }

    private static void Complete(JsonObject given, JsonObject defaults)
    {
        foreach ((string name, JsonNode? value) in defaults)
        {
            if (!given.ContainsKey(name))
                given[name] = value?.DeepClone();
        }
    }
}

/// <summary>JSON of specifications, as all that hold one write them.</summary>
[JsonSourceGenerationOptions(PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase, UseStringEnumConverter = true, DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull)]
[JsonSerializable(typeof(MachineSpec))]
[JsonSerializable(typeof(DiskSpec))]
[JsonSerializable(typeof(NetworkSpec))]
[JsonSerializable(typeof(VncSpec))]
internal sealed partial class SpecContext : JsonSerializerContext;
