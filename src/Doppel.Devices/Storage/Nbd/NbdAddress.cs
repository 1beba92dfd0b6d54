using System.Globalization;
using Doppel.Devices.Storage.Images;

namespace Doppel.Devices.Storage.Nbd;

/// <summary>The address of an export of an NBD server (the project's doc/uri.md).</summary>
/// <param name="Host">The host; empty for a Unix socket.</param>
/// <param name="Port">The port.</param>
/// <param name="Socket">The Unix socket's path; empty for TCP.</param>
/// <param name="Export">The export's name; empty for the server's default.</param>
internal sealed record NbdAddress(string Host, int Port, string Socket, string Export)
{
    internal const int DefaultPort = 10809;

    /// <summary>Reads nbd://HOST[:PORT]/EXPORT or nbd+unix:///EXPORT?socket=PATH.</summary>
    /// <exception cref="DiskImageException">It is neither.</exception>
    internal static NbdAddress Parse(string text)
    {
        if (Uri.TryCreate(text, UriKind.Absolute, out Uri? uri))
        {
            string export = Uri.UnescapeDataString(uri.AbsolutePath.TrimStart('/'));
            if (uri.Scheme == "nbd" && uri.Host.Length > 0)
                return new NbdAddress(uri.Host.Trim('[', ']'), uri.Port > 0 ? uri.Port : DefaultPort, "", export);
            string? socket = uri.Query.TrimStart('?').Split('&').FirstOrDefault(p => p.StartsWith("socket=", StringComparison.Ordinal))?["socket=".Length..];
            if (uri.Scheme == "nbd+unix" && socket is { Length: > 0 })
                return new NbdAddress("", 0, Uri.UnescapeDataString(socket), export);
        }

        throw new DiskImageException(string.Create(CultureInfo.InvariantCulture, $"{text}: nbd://HOST[:{DefaultPort}]/EXPORT or nbd+unix:///EXPORT?socket=PATH would be right"));
    }
}
