using System.Globalization;
using System.Net.Sockets;
using System.Text;

namespace Doppel.Devices.Vsock;

/// <summary>
/// The Unix socket by which programs of the host reach ports of the guest: a program connects and writes
/// <c>CONNECT PORT\n</c>; once the guest has accepted it reads <c>OK HOSTPORT\n</c>, and from then on it talks to the guest.
/// A program of the guest that connects to port N of the host (context id 2) reaches whoever listens at the Unix socket
/// <c>PATH_N</c>.
/// </summary>
public sealed class VsockListener : IDisposable
{
    private const int LongestLine = 32;
    private readonly Socket _socket;
    private readonly CancellationTokenSource _stop = new();

    /// <summary>Listens.</summary>
    /// <param name="path">Where the socket is made; at most 107 bytes. One that nobody listens at any more is replaced.</param>
    /// <exception cref="IOException">It can't be made; the message says why.</exception>
    public VsockListener(string path)
    {
        Path = System.IO.Path.GetFullPath(path);
        _socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        try
        {
            var address = new UnixDomainSocketEndPoint(Path);
            RemoveIfStale(address);
            _socket.Bind(address);
            // Only this user may talk to the guest.
            File.SetUnixFileMode(Path, UnixFileMode.UserRead | UnixFileMode.UserWrite);
            _socket.Listen(64);
        }
        catch (Exception e) when (e is SocketException or IOException or UnauthorizedAccessException or ArgumentException)
        {
            _socket.Dispose();
            throw new IOException($"{Path}: the socket can't be made: {e.Message}", e);
        }
    }

    /// <summary>Where the socket is.</summary>
    public string Path { get; }

    /// <summary>The socket at which a port of the host is listened to.</summary>
    internal string PathOf(uint port) => string.Create(CultureInfo.InvariantCulture, $"{Path}_{port}");

    /// <summary>Takes programs that connect, until the listener is disposed.</summary>
    /// <param name="connect">Told of a program that wants to talk to a port of the guest; the socket is the callee's. Any thread.</param>
    internal async Task AcceptAsync(Action<Socket, uint> connect)
    {
        while (!_stop.IsCancellationRequested)
        {
            try
            {
                Socket socket = await _socket.AcceptAsync(_stop.Token).ConfigureAwait(false);
                _ = GreetAsync(socket, connect);
            }
            catch (Exception e) when (e is SocketException or OperationCanceledException or ObjectDisposedException)
            {
                // Over, or whoever connected is gone; the loop's condition tells which.
            }
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        if (_stop.IsCancellationRequested)
            return;
        _stop.Cancel();
        _socket.Dispose();
        File.Delete(Path);
    }

    private void RemoveIfStale(UnixDomainSocketEndPoint address)
    {
        using var probe = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        try
        {
            probe.Connect(address);
        }
        catch (SocketException e) when (e.SocketErrorCode == SocketError.ConnectionRefused)
        {
            File.Delete(Path);
        }
        catch (SocketException)
        {
            // There is none, or what is there stays: binding says so.
        }
    }

    private async Task GreetAsync(Socket socket, Action<Socket, uint> connect)
    {
        try
        {
            // A byte at a time: what follows the line is for the guest.
            byte[] line = new byte[LongestLine];
            for (int length = 0; length < line.Length; length++)
            {
                if (await socket.ReceiveAsync(line.AsMemory(length, 1), _stop.Token).ConfigureAwait(false) == 0)
                    break;
                if (line[length] != '\n')
                    continue;
                if (Encoding.ASCII.GetString(line, 0, length).Split(' ') is ["CONNECT", string number] && uint.TryParse(number, NumberStyles.None, CultureInfo.InvariantCulture, out uint port))
                {
                    connect(socket, port);
                    return;
                }

                break;
            }
        }
        catch (Exception e) when (e is SocketException or OperationCanceledException or ObjectDisposedException)
        {
            // It is gone.
        }

        socket.Dispose();
    }
}
