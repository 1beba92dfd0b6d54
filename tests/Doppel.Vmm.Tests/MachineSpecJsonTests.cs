using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;
using System.Text.Json.Serialization.Metadata;

namespace Doppel.Vmm.Tests;

public sealed class MachineSpecJsonTests
{
    [Fact]
    public void What_must_be_there_is_what_the_serializer_does_not_fill_in()
    {
        Check(new MachineSpec(), SpecContext.Default.MachineSpec, MachineSpecJson.OfMachine, "{}");
        Check(new DiskSpec { Path = "p" }, SpecContext.Default.DiskSpec, MachineSpecJson.OfDisk, """{"path":"p"}""");
        Check(new NetworkSpec(), SpecContext.Default.NetworkSpec, MachineSpecJson.OfNetwork, "{}");
        Check(new VncSpec(), SpecContext.Default.VncSpec, MachineSpecJson.OfVnc, "{}");
    }

    [Fact]
    public void Any_one_that_is_missing_has_its_default()
    {
        var spec = new MachineSpec
        {
            Name = "m",
            Kernel = "k",
            Disks = [new DiskSpec { Path = "p", Serial = "s" }],
            Networks = [new NetworkSpec { Name = "n" }],
            Vnc = new VncSpec { Address = "::1" },
        };
        JsonObject whole = JsonSerializer.SerializeToNode(spec, SpecContext.Default.MachineSpec)!.AsObject();
        foreach (string name in MachineSpecJson.OfMachine)
        {
            JsonObject less = whole.DeepClone().AsObject();
            _ = less.Remove(name);
            MachineSpec read = Read(less);
            object? of(MachineSpec from) => typeof(MachineSpec).GetProperty($"{char.ToUpperInvariant(name[0])}{name[1..]}")!.GetValue(from);
            Assert.Equal(of(new MachineSpec()), of(read));
        }

        Assert.Equal(whole.ToJsonString(), JsonSerializer.SerializeToNode(Read(whole), SpecContext.Default.MachineSpec)!.ToJsonString());
        _ = whole["disks"]![0]!.AsObject().Remove("interface");
        _ = whole["networks"]![0]!.AsObject().Remove("kind");
        _ = whole["vnc"]!.AsObject().Remove("address");
        MachineSpec filled = Read(whole);
        Assert.Equal((DiskInterface.Virtio, NetworkKind.User, "127.0.0.1"), (filled.Disks[0].Interface, filled.Networks[0].Kind, filled.Vnc!.Address));
    }

    [Fact]
    public void What_is_there_twice_is_refused_however_whole_it_is()
    {
        string whole = JsonSerializer.Serialize(new MachineSpec { Kernel = "k" }, SpecContext.Default.MachineSpec);
        string twice = "{\"name\":\"other\"," + whole[1..];
        Assert.Contains("twice", Assert.Throws<JsonException>(() => MachineSpecJson.Read(Encoding.UTF8.GetBytes($"{{\"spec\":{twice}}}"), SpecHolderContext.Default.SpecHolder, "spec")).Message, StringComparison.Ordinal);
    }

    private static MachineSpec Read(JsonObject spec) =>
        MachineSpecJson.Read(Encoding.UTF8.GetBytes(new JsonObject { ["spec"] = spec.DeepClone() }.ToJsonString()), SpecHolderContext.Default.SpecHolder, "spec")!.Spec;

    private static void Check<T>(T defaults, JsonTypeInfo<T> type, string[] names, string empty)
    {
        JsonObject own = JsonSerializer.SerializeToNode(defaults, type)!.AsObject();
        JsonObject filled = JsonSerializer.SerializeToNode(JsonSerializer.Deserialize(empty, type)!, type)!.AsObject();
        foreach ((string name, JsonNode? value) in own)
            Assert.True(names.Contains(name) || JsonNode.DeepEquals(value, filled[name]), name);
        // Those that are demanded are always written.
        Assert.All(names, name => Assert.True(own.ContainsKey(name), name));
    }
}

internal sealed record SpecHolder(MachineSpec Spec);

[System.Text.Json.Serialization.JsonSourceGenerationOptions(PropertyNamingPolicy = System.Text.Json.Serialization.JsonKnownNamingPolicy.CamelCase, UseStringEnumConverter = true, DefaultIgnoreCondition = System.Text.Json.Serialization.JsonIgnoreCondition.WhenWritingNull)]
[System.Text.Json.Serialization.JsonSerializable(typeof(SpecHolder))]
internal sealed partial class SpecHolderContext : System.Text.Json.Serialization.JsonSerializerContext;
