using System.Net;
using System.Net.Security;
using System.Net.Sockets;
using System.Security.Authentication;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;

namespace Doppel.Vmm.Migration;

/// <summary>Where a process listens for the machine that is to arrive in it.</summary>
public sealed class MigrationListener : IDisposable
{
    private readonly Socket _listener;
    private readonly X509Certificate2? _certificate;

    private MigrationListener(Socket listener, X509Certificate2? certificate, MigrationAddress address)
    {
        _listener = listener;
        _certificate = certificate;
        Address = address;
    }

    /// <summary>What the source must know.</summary>
    public MigrationAddress Address { get; }

    /// <summary>Listens on a Unix socket that only this user can open.</summary>
    /// <param name="path">Its path, where nothing is yet.</param>
    /// <param name="id">The migration.</param>
    /// <exception cref="IOException">The host refuses.</exception>
    public static MigrationListener OnSocket(string path, Guid id)
    {
        var listener = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        try
        {
            listener.Bind(new UnixDomainSocketEndPoint(path));
            File.SetUnixFileMode(path, UnixFileMode.UserRead | UnixFileMode.UserWrite);
            listener.Listen(MigrationOptions.MaximumConnections + 1);
            return new MigrationListener(listener, null, new MigrationAddress { Id = id, Ticket = NewTicket(), Socket = path });
        }
        catch (Exception e) when (e is SocketException or ArgumentException)
        {
            listener.Dispose();
            throw new IOException($"{path}: can't listen for a machine: {e.Message}", e);
        }
    }

    /// <summary>Listens on TCP, with TLS and a certificate that is made for this one migration.</summary>
    /// <param name="address">The host's address; null for all.</param>
    /// <param name="id">The migration.</param>
    /// <exception cref="IOException">The host refuses.</exception>
    public static MigrationListener OnTcp(IPAddress? address, Guid id)
    {
        var listener = new Socket(SocketType.Stream, ProtocolType.Tcp);
        try
        {
            listener.Bind(new IPEndPoint(address ?? IPAddress.IPv6Any, 0));
            listener.Listen(MigrationOptions.MaximumConnections + 1);
            X509Certificate2 certificate = NewCertificate();
            return new MigrationListener(listener, certificate, new MigrationAddress
            {
                Id = id,
                Ticket = NewTicket(),
                Host = address?.ToString(),
                Port = ((IPEndPoint)listener.LocalEndPoint!).Port,
                Certificate = Convert.ToHexStringLower(SHA256.HashData(certificate.RawData)),
            });
        }
        catch (SocketException e)
        {
            listener.Dispose();
            throw new IOException($"{address}: can't listen for a machine: {e.Message}", e);
        }
    }

    /// <summary>Waits for the next connection.</summary>
    /// <returns>Null for one that could not be made safe.</returns>
    internal async Task<MigrationStream?> AcceptAsync(CancellationToken cancel)
    {
        Socket socket = await _listener.AcceptAsync(cancel).ConfigureAwait(false);
        var stream = new NetworkStream(socket, ownsSocket: true);
        if (_certificate is null)
            return new MigrationStream(stream);
        Tune(socket);
        var secure = new SslStream(stream);
        try
        {
            await secure.AuthenticateAsServerAsync(new SslServerAuthenticationOptions { ServerCertificate = _certificate }, cancel).ConfigureAwait(false);
            return new MigrationStream(secure);
        }
        catch (Exception e) when (e is AuthenticationException or IOException)
        {
            await secure.DisposeAsync().ConfigureAwait(false);
            return null;
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _listener.Dispose();
        _certificate?.Dispose();
        if (Address.Socket is string path)
            File.Delete(path);
    }

    /// <summary>Sets up a TCP connection: small frames go at once, and a host that is gone is noticed within half a minute.</summary>
    internal static void Tune(Socket socket)
    {
        const int Tcp = 6, UserTimeout = 18, Milliseconds = 20_000;
        socket.NoDelay = true;
        socket.SetSocketOption(SocketOptionLevel.Socket, SocketOptionName.KeepAlive, true);
        socket.SetSocketOption(SocketOptionLevel.Tcp, SocketOptionName.TcpKeepAliveTime, 10);
        socket.SetSocketOption(SocketOptionLevel.Tcp, SocketOptionName.TcpKeepAliveInterval, 5);
        socket.SetSocketOption(SocketOptionLevel.Tcp, SocketOptionName.TcpKeepAliveRetryCount, 3);
        // tcp(7): unacknowledged data for so long ends a connection.
        socket.SetRawSocketOption(Tcp, UserTimeout, BitConverter.GetBytes(Milliseconds));
    }

    private static string NewTicket() => Convert.ToHexStringLower(RandomNumberGenerator.GetBytes(32));

    private static X509Certificate2 NewCertificate()
    {
        using var key = ECDsa.Create(ECCurve.NamedCurves.nistP256);
        var request = new CertificateRequest("CN=doppel", key, HashAlgorithmName.SHA256);
        using X509Certificate2 made = request.CreateSelfSigned(DateTimeOffset.UtcNow.AddDays(-1), DateTimeOffset.UtcNow.AddDays(30));
        // With its key in memory as SslStream wants it.
        return X509CertificateLoader.LoadPkcs12(made.Export(X509ContentType.Pkcs12), null);
    }
}
