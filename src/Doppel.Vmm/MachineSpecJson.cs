using System.Text.Json;
using System.Text.Json.Nodes;
using System.Text.Json.Serialization;
using System.Text.Json.Serialization.Metadata;

namespace Doppel.Vmm;

/// <summary>Reads JSON that holds a <see cref="MachineSpec"/>: what is absent, because a person left it out or an older Doppel did not know it, has its default.</summary>
public static class MachineSpecJson
{
    /// <summary>Reads an object with a specification in one of its properties.</summary>
    /// <param name="json">UTF-8.</param>
    /// <param name="type">How the object is read.</param>
    /// <param name="property">The specification's property.</param>
    /// <returns>Null for a JSON null.</returns>
    /// <exception cref="JsonException">It can't be; the exception says where.</exception>
    public static T? Read<T>(ReadOnlySpan<byte> json, JsonTypeInfo<T> type, string property)
        where T : class
    {
        // What is wrong is found here, with its line.
        T? read = JsonSerializer.Deserialize(json, type);
        try
        {
            // The serializer gives properties without setters that are absent their type's default instead of their own.
            JsonNode? root = JsonNode.Parse(json);
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
