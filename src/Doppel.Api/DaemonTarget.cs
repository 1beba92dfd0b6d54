using System.Net;
using System.Net.Sockets;
using Doppel.Vmm.Migration;

namespace Doppel.Api;

/// <summary>Another daemon, as a user names it.</summary>
public sealed class DaemonTarget
{
    private const string Unix = "unix:";
    private readonly string? _socket;
    private readonly Remote? _remote;

    private DaemonTarget(string? socket, Remote? remote)
    {
        _socket = socket;
        _remote = remote;
    }

    /// <summary>Reads what a user writes.</summary>
    /// <param name="address">tls://HOST[:PORT] or unix:PATH.</param>
    /// <param name="token">What is in the daemon's token file; null for none.</param>
    /// <param name="fingerprint">SHA-256 of its certificate; null to trust whom the system trusts.</param>
    /// <exception cref="ApiException">It can't be.</exception>
    public static DaemonTarget Parse(string address, string? token, string? fingerprint)
    {
        ArgumentNullException.ThrowIfNull(address);
        try
        {
            if (address.StartsWith(Remote.Scheme, StringComparison.Ordinal))
                return new DaemonTarget(null, Remote.Of(address, token, fingerprint));
        }
        catch (FormatException e)
        {
            throw new ApiException(400, e.Message);
        }

        return address.StartsWith(Unix, StringComparison.Ordinal) && Path.IsPathRooted(address[Unix.Length..]) && !address.Contains('\0', StringComparison.Ordinal)
            ? new DaemonTarget(address[Unix.Length..], null)
            : throw new ApiException(400, $"\"{address}\" is no daemon: tls://HOST:PORT, or unix:PATH with the absolute path of its socket, would be right");
    }

    /// <summary>A client.</summary>
    public DaemonClient Connect() => _remote is null ? new DaemonClient(_socket!) : new DaemonClient(_remote);

    /// <summary>An address that it has told, as this side reaches it: by number, since a machine's process asks for no names.</summary>
    /// <exception cref="IOException">The host's name is unknown.</exception>
    public async Task<MigrationAddress> CompleteAsync(MigrationAddress address, CancellationToken cancel)
    {
        ArgumentNullException.ThrowIfNull(address);
        if (_remote is null)
            return address;
        if (IPAddress.TryParse(_remote.Host, out IPAddress? known))
            return address with { Host = known.ToString() };
        try
        {
            return address with { Host = (await Dns.GetHostAddressesAsync(_remote.Host, cancel).ConfigureAwait(false))[0].ToString() };
        }
        catch (SocketException e)
        {
            throw new IOException($"{_remote.Host}: {e.Message}", e);
        }
    }
}
