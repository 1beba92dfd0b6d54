using System.Net.Security;
using System.Net.Sockets;
using System.Security.Authentication;
using System.Security.Cryptography;

namespace Doppel.Vmm.Migration;

/// <summary>Where the process listens in which a machine is to arrive, as its daemon tells the source's.</summary>
public sealed record MigrationAddress
{
    private static readonly TimeSpan AnswerTime = TimeSpan.FromSeconds(10);

    /// <summary>Path of a Unix socket; null for TCP.</summary>
    public string? Socket { get; init; }

    /// <summary>The host's name or address; null for a Unix socket, or for the host of the daemon that tells it.</summary>
    public string? Host { get; init; }

    /// <summary>The TCP port.</summary>
    public int Port { get; init; }

    /// <summary>SHA-256 of the certificate that the process shows, hexadecimal: the only one that is taken; null for a connection without TLS.</summary>
    public string? Certificate { get; init; }

    /// <summary>Lets the source in.</summary>
    public required string Ticket { get; init; }

    /// <summary>The migration.</summary>
    public required Guid Id { get; init; }

    /// <inheritdoc/>
    public override string ToString() => Socket ?? $"{Host}:{Port}";

    /// <summary>Asks the process whether the machine is its; one that is not never will be.</summary>
    /// <returns>Null when nobody answers.</returns>
    public async Task<bool?> AskAsync(CancellationToken cancel)
    {
        using var time = CancellationTokenSource.CreateLinkedTokenSource(cancel);
        time.CancelAfter(AnswerTime);
        try
        {
            await using MigrationStream connection = await ConnectAsync(time.Token).ConfigureAwait(false);
            await connection.SendAsync(FrameKind.Join, new JoinRequest(Id, Ticket, JoinRequest.Question), MigrationJson.Default.JoinRequest, time.Token).ConfigureAwait(false);
            Frame answer = await connection.ReceiveAsync(time.Token).ConfigureAwait(false);
            return answer.Kind == FrameKind.Accepted ? true : answer.Kind == FrameKind.Declined ? false : null;
        }
        catch (Exception e) when (e is IOException || (e is OperationCanceledException && !cancel.IsCancellationRequested))
        {
            return null;
        }
    }

    /// <summary>Connects.</summary>
    /// <exception cref="IOException">Nobody listens, or it is somebody else.</exception>
    internal async Task<MigrationStream> ConnectAsync(CancellationToken cancel)
    {
        var socket = Socket is null ? new Socket(SocketType.Stream, ProtocolType.Tcp) : new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        try
        {
            if (Socket is string path)
            {
                await socket.ConnectAsync(new UnixDomainSocketEndPoint(path), cancel).ConfigureAwait(false);
            }
            else
            {
                MigrationListener.Tune(socket);
                await socket.ConnectAsync(Host ?? "localhost", Port, cancel).ConfigureAwait(false);
            }

            var stream = new NetworkStream(socket, ownsSocket: true);
            return new MigrationStream(Certificate is null ? stream : await SecureAsync(stream, Certificate, cancel).ConfigureAwait(false));
        }
        catch (Exception e) when (e is SocketException or AuthenticationException)
        {
            socket.Dispose();
            throw new IOException($"{this}: {e.Message}", e);
        }
        catch
        {
            socket.Dispose();
            throw;
        }
    }

    private static async Task<Stream> SecureAsync(NetworkStream stream, string certificate, CancellationToken cancel)
    {
        var secure = new SslStream(stream);
        // Whoever told the certificate was trusted, so that neither names nor authorities say more.
        await secure.AuthenticateAsClientAsync(
            new SslClientAuthenticationOptions
            {
                TargetHost = "doppel",
                RemoteCertificateValidationCallback = (_, shown, _, _) => shown is not null && CryptographicOperations.FixedTimeEquals(SHA256.HashData(shown.GetRawCertData()), Convert.FromHexString(certificate)),
            },
            cancel).ConfigureAwait(false);
        return secure;
    }
}
