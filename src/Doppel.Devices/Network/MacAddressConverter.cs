using System.Text.Json;
using System.Text.Json.Serialization;

namespace Doppel.Devices.Network;

/// <summary>An address in JSON is what people write.</summary>
public sealed class MacAddressConverter : JsonConverter<MacAddress>
{
    /// <inheritdoc/>
    public override MacAddress Read(ref Utf8JsonReader reader, Type typeToConvert, JsonSerializerOptions options) =>
        MacAddress.TryParse(reader.GetString() ?? "", out MacAddress address) ? address : throw new JsonException("no Ethernet address");

    /// <inheritdoc/>
    public override void Write(Utf8JsonWriter writer, MacAddress value, JsonSerializerOptions options)
    {
        ArgumentNullException.ThrowIfNull(writer);
        writer.WriteStringValue(value.ToString());
    }
}
