using System.Globalization;
using System.Net;
using System.Net.Sockets;

namespace Doppel.Vmm.Debugging;

/// <summary>Where a GDB server listens, as <c>--gdb</c> names it.</summary>
/// <param name="EndPoint">The address; for a host name it is still to be resolved.</param>
/// <param name="Wait">True when the machine waits for the debugger before its first instruction.</param>
public sealed record GdbEndpoint(EndPoint EndPoint, bool Wait)
{
    /// <summary>The values that a user can give, for messages.</summary>
    public const string Choices = "tcp::PORT, tcp:HOST:PORT or unix:PATH, and \",wait\" after it for a machine that waits";

    /// <summary>Reads a value; null when it is none. Without a host, only this machine can connect.</summary>
    public static GdbEndpoint? Parse(string text)
    {
        ArgumentNullException.ThrowIfNull(text);
        const string WaitSuffix = ",wait";
        bool wait = text.EndsWith(WaitSuffix, StringComparison.Ordinal);
        if (wait)
            text = text[..^WaitSuffix.Length];
        if (text.StartsWith("unix:", StringComparison.Ordinal))
            return text.Length is > 5 and < 5 + 108 ? new GdbEndpoint(new UnixDomainSocketEndPoint(text[5..]), wait) : null;
        if (!text.StartsWith("tcp:", StringComparison.Ordinal))
            return null;
        int colon = text.LastIndexOf(':');
        if (colon < 4 || !int.TryParse(text.AsSpan(colon + 1), NumberStyles.None, CultureInfo.InvariantCulture, out int port) || port > 65535)
            return null;
        string host = text[4..colon].Trim('[', ']');
        if (host.Length == 0)
            return new GdbEndpoint(new IPEndPoint(IPAddress.Loopback, port), wait);
        return new GdbEndpoint(IPAddress.TryParse(host, out IPAddress? address) ? new IPEndPoint(address, port) : new DnsEndPoint(host, port), wait);
    }
}
