using System.Globalization;
using System.Net;
using System.Net.Sockets;
using System.Text.Json.Serialization;

namespace Doppel.Devices.Network;

/// <summary>A port of the host that leads to one of the guest.</summary>
/// <param name="HostAddress">The host's IPv4 address; <see cref="IPAddress.Any"/> for all of them.</param>
/// <param name="HostPort">1 to 65535.</param>
/// <param name="GuestPort">1 to 65535.</param>
/// <param name="IsUdp">True for UDP, false for TCP.</param>
[JsonConverter(typeof(PortForwardConverter))]
public sealed record PortForward(IPAddress HostAddress, int HostPort, int GuestPort, bool IsUdp = false)
{
    /// <summary>What <see cref="TryParse"/> takes.</summary>
    public const string Choices = "[HOSTIP:]HOSTPORT:GUESTPORT[/tcp|/udp]";

    /// <summary>Reads what a user writes, for example "8080:80" or "127.0.0.1:5353:53/udp".</summary>
    /// <returns>Null for anything else.</returns>
    public static PortForward? TryParse(string text)
    {
        ArgumentNullException.ThrowIfNull(text);
        string[] protocol = text.Split('/');
        bool isUdp = protocol.Length == 2 && protocol[1] == "udp";
        if (protocol.Length > 2 || (protocol.Length == 2 && !isUdp && protocol[1] != "tcp"))
            return null;
        string[] words = protocol[0].Split(':');
        IPAddress? address = IPAddress.Any;
        if (words.Length == 3 && (words[0].Split('.').Length != 4 || !IPAddress.TryParse(words[0], out address) || address.AddressFamily != AddressFamily.InterNetwork))
            return null;
        return words.Length is 2 or 3 && TryParsePort(words[^2], out int host) && TryParsePort(words[^1], out int guest)
            ? new PortForward(address!, host, guest, isUdp)
            : null;
    }

    /// <inheritdoc/>
    public override string ToString() => string.Create(CultureInfo.InvariantCulture, $"{HostAddress}:{HostPort}:{GuestPort}/{(IsUdp ? "udp" : "tcp")}");

    private static bool TryParsePort(string text, out int port) =>
        int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out port) && port is >= 1 and <= 65535;
}
