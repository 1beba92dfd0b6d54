using System.Globalization;
using System.Security.Cryptography;
using System.Text;
using System.Text.Json.Serialization;

namespace Doppel.Devices.Network;

/// <summary>An Ethernet address.</summary>
/// <param name="Value">Its 48 bits, the first byte in the highest.</param>
[JsonConverter(typeof(MacAddressConverter))]
public readonly record struct MacAddress(ulong Value)
{
    /// <summary>Bytes of an address.</summary>
    public const int Length = 6;

    /// <summary>The address of everyone.</summary>
    public static readonly MacAddress Broadcast = new(0xFFFF_FFFF_FFFF);

    /// <summary>True for a group of stations, everyone included.</summary>
    public bool IsMulticast => (Value & (1UL << 40)) != 0;

    /// <summary>Reads the first six bytes.</summary>
    public static MacAddress Read(ReadOnlySpan<byte> bytes)
    {
        ulong value = 0;
        for (int i = 0; i < Length; i++)
            value = (value << 8) | bytes[i];
        return new MacAddress(value);
    }

    /// <summary>Writes six bytes.</summary>
    public void Write(Span<byte> bytes)
    {
        for (int i = 0; i < Length; i++)
            bytes[i] = (byte)(Value >> (40 - (8 * i)));
    }

    /// <summary>A locally administered address that depends on nothing but a text (IEEE 802, 8.2).</summary>
    public static MacAddress Derive(string text)
    {
        ulong value = Read(SHA256.HashData(Encoding.UTF8.GetBytes(text))).Value;
        return new MacAddress((value & ~(3UL << 40)) | (2UL << 40));
    }

    /// <summary>Reads an address of one station, written as "02:12:34:56:78:9a".</summary>
    /// <returns>False for anything else; a group's address and zero included.</returns>
    public static bool TryParse(string text, out MacAddress address)
    {
        ArgumentNullException.ThrowIfNull(text);
        address = default;
        string[] parts = text.Split(':');
        ulong value = 0;
        foreach (string part in parts)
        {
            if (part.Length != 2 || !byte.TryParse(part, NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out byte b))
                return false;
            value = (value << 8) | b;
        }

        address = new MacAddress(value);
        return parts.Length == Length && value != 0 && !address.IsMulticast;
    }

    /// <inheritdoc/>
    public override string ToString()
    {
        byte[] bytes = new byte[Length];
        Write(bytes);
        return string.Join(':', bytes.Select(b => b.ToString("x2", CultureInfo.InvariantCulture)));
    }
}
