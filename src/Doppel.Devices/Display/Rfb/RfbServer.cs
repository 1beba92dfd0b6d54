using System.Net;
using System.Net.Sockets;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;
using Doppel.Devices.Input;

namespace Doppel.Devices.Display.Rfb;

/// <summary>
/// Shows a machine's display to any number of clients over RFB 3.8 (RFC 6143), and takes their keys and pointers. Each client
/// has tasks of its own: one that is slow holds up neither the guest nor the others.
/// </summary>
public sealed class RfbServer : IAsyncDisposable
{
    private const int MostDisplays = 100, MostClients = 64;
    private readonly GuestDisplay _display;
    private readonly GuestInput _input;
    private readonly RfbOptions _options;
    private readonly Socket _listener;
    private readonly X509Certificate2? _certificate;
    private readonly CancellationTokenSource _end = new();
    private readonly List<Task> _clients = [];
    private readonly Task _task;

    private RfbServer(GuestDisplay display, GuestInput input, RfbOptions options, Socket listener)
    {
        _display = display;
        _input = input;
        _options = options;
        _listener = listener;
        _certificate = options.IsEncrypted ? MakeCertificate() : null;
        _task = AcceptAsync();
    }

    /// <summary>Where it listens.</summary>
    public IPEndPoint EndPoint => (IPEndPoint)_listener.LocalEndPoint!;

    /// <summary>Number of the display.</summary>
    public int Display => EndPoint.Port - RfbOptions.FirstPort;

    /// <summary>SHA-256 of the certificate in hexadecimal digits, by which a user can know it; null without encryption.</summary>
    public string? Fingerprint => _certificate?.GetCertHashString(HashAlgorithmName.SHA256);

    /// <summary>Listens.</summary>
    /// <param name="display">What is shown.</param>
    /// <param name="input">Where keys and pointers go.</param>
    /// <param name="options">How.</param>
    /// <exception cref="IOException">There can be no listener, or the password can't be; the message says why.</exception>
    public static RfbServer Start(GuestDisplay display, GuestInput input, RfbOptions options)
    {
        ArgumentNullException.ThrowIfNull(display);
        ArgumentNullException.ThrowIfNull(input);
        ArgumentNullException.ThrowIfNull(options);
        if (options.Password is string password && !RfbHandshake.IsUsable(password))
            throw new IOException("the password makes a weak key for DES, by which RFB checks it; another would be right");
        int first = options.Display ?? 0, last = options.Display ?? MostDisplays - 1;
        for (int number = first; ; number++)
        {
            var listener = new Socket(options.Address.AddressFamily, SocketType.Stream, ProtocolType.Tcp);
            try
            {
                listener.Bind(new IPEndPoint(options.Address, RfbOptions.FirstPort + number));
                listener.Listen(16);
                return new RfbServer(display, input, options, listener);
            }
            catch (SocketException e)
            {
                listener.Dispose();
                if (number == last || e.SocketErrorCode != SocketError.AddressAlreadyInUse)
                    throw new IOException($"{options.Address}, display {number}, port {RfbOptions.FirstPort + number}: {e.Message}", e);
            }
        }
    }

    /// <summary>Ends all connections.</summary>
    public async ValueTask DisposeAsync()
    {
        await _end.CancelAsync().ConfigureAwait(false);
        _listener.Dispose();
        await _task.ConfigureAwait(false);
        await Task.WhenAll(_clients).ConfigureAwait(false);
        _end.Dispose();
        _certificate?.Dispose();
    }

    // Of this server alone: what a client can check is its fingerprint.
    private static X509Certificate2 MakeCertificate()
    {
        using var key = ECDsa.Create(ECCurve.NamedCurves.nistP256);
        var request = new CertificateRequest("CN=doppel", key, HashAlgorithmName.SHA256);
        var names = new SubjectAlternativeNameBuilder();
        names.AddDnsName("localhost");
        names.AddIpAddress(IPAddress.Loopback);
        request.CertificateExtensions.Add(names.Build());
        DateTimeOffset now = DateTimeOffset.UtcNow;
        using X509Certificate2 made = request.CreateSelfSigned(now.AddDays(-1), now.AddYears(5));
        return X509CertificateLoader.LoadPkcs12(made.Export(X509ContentType.Pkcs12), null);
    }

    private async Task AcceptAsync()
    {
        while (!_end.IsCancellationRequested)
        {
            try
            {
                Socket socket = await _listener.AcceptAsync(_end.Token).ConfigureAwait(false);
                _ = _clients.RemoveAll(client => client.IsCompleted);
                if (_clients.Count >= MostClients)
                {
                    socket.Dispose();
                    continue;
                }

                socket.NoDelay = true;
                _clients.Add(ServeAsync(socket));
            }
            catch (Exception e) when (e is OperationCanceledException or SocketException or ObjectDisposedException)
            {
                // The server ends, or whoever connected is gone; the loop's condition tells which.
            }
        }
    }

    private async Task ServeAsync(Socket socket)
    {
        try
        {
            await using var stream = new NetworkStream(socket, ownsSocket: true);
            await using Stream? secured = await RfbHandshake.RunAsync(stream, _options.Password, _certificate, _end.Token).ConfigureAwait(false);
            if (secured is null)
                return;
            using var session = new RfbSession(secured, _display, _input, _options.Name);
            await session.RunAsync(_end.Token).ConfigureAwait(false);
        }
        catch (Exception e) when (e is OperationCanceledException or IOException or SocketException or System.Security.Authentication.AuthenticationException or InvalidDataException)
        {
            // The client is gone, or speaks another language, or the server ends.
        }
    }
}
