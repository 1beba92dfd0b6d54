using System.Text.Json;
using System.Text.Json.Serialization;

namespace Doppel.Devices.Network;

/// <summary>Ports in JSON are what people write.</summary>
public sealed class PortForwardConverter : JsonConverter<PortForward>
{
    /// <inheritdoc/>
    public override PortForward Read(ref Utf8JsonReader reader, Type typeToConvert, JsonSerializerOptions options) =>
        PortForward.TryParse(reader.GetString() ?? "") ?? throw new JsonException($"no {PortForward.Choices}");

    /// <inheritdoc/>
    public override void Write(Utf8JsonWriter writer, PortForward value, JsonSerializerOptions options)
    {
        ArgumentNullException.ThrowIfNull(writer);
        ArgumentNullException.ThrowIfNull(value);
        writer.WriteStringValue(value.ToString());
    }
}
