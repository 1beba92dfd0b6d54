using System.Net;
using System.Net.Sockets;

namespace Doppel.Vmm.Debugging;

/// <summary>
/// Lets GDB debug a machine over a socket. One debugger at a time; the next one waits until it has left. While none is
/// connected the machine runs as if there were no server.
/// </summary>
public sealed class GdbServer : IAsyncDisposable
{
    private readonly IDebugTarget _target;
    private readonly Socket _listener;
    private readonly string? _path;
    private readonly CancellationTokenSource _end = new();
    private readonly CancellationTokenSource _cut = new();
    private readonly Task _task;

    private GdbServer(IDebugTarget target, Socket listener, string? path)
    {
        _target = target;
        _listener = listener;
        _path = path;
        Address = listener.LocalEndPoint!;
        _task = AcceptAsync();
    }

    /// <summary>Where it listens; for port 0 the port that the host chose.</summary>
    public EndPoint Address { get; }

    /// <summary>Starts to listen.</summary>
    /// <param name="target">The machine's <see cref="VirtualMachine.Debugger"/>.</param>
    /// <param name="endpoint">Where.</param>
    /// <exception cref="IOException">The address can't be used; the message says why.</exception>
    public static GdbServer Start(IDebugTarget target, GdbEndpoint endpoint)
    {
        ArgumentNullException.ThrowIfNull(target);
        ArgumentNullException.ThrowIfNull(endpoint);
        Socket? listener = null;
        try
        {
            EndPoint address = endpoint.EndPoint;
            if (address is DnsEndPoint name)
                address = new IPEndPoint(Dns.GetHostAddresses(name.Host)[0], name.Port);
            string? path = address is UnixDomainSocketEndPoint ? address.ToString() : null;
            listener = new Socket(address.AddressFamily, SocketType.Stream, path is null ? ProtocolType.Tcp : ProtocolType.Unspecified);
            if (path is not null)
                RemoveStaleSocket(path, address);
            listener.Bind(address);
            // Who can connect can read and change everything in the guest.
            if (path is not null)
                File.SetUnixFileMode(path, UnixFileMode.UserRead | UnixFileMode.UserWrite);
            listener.Listen(4);
            return new GdbServer(target, listener, path);
        }
        catch (Exception e) when (e is SocketException or IOException or UnauthorizedAccessException or ArgumentException)
        {
            listener?.Dispose();
            throw new IOException($"GDB can't be served at {endpoint.EndPoint}: {e.Message}; an address of this host that is free would be right", e);
        }
    }

    /// <summary>Stops listening and drops the debugger's connection; when the machine is over, the debugger is told first.</summary>
    public async ValueTask DisposeAsync()
    {
        await _end.CancelAsync().ConfigureAwait(false);
        if (!_target.HasEnded)
            await _cut.CancelAsync().ConfigureAwait(false);
        _listener.Dispose();
        await _task.ConfigureAwait(false);
        _end.Dispose();
        _cut.Dispose();
        if (_path is not null)
            File.Delete(_path);
    }

    private async Task AcceptAsync()
    {
        while (!_end.IsCancellationRequested)
        {
            try
            {
                using Socket socket = await _listener.AcceptAsync(_end.Token).ConfigureAwait(false);
                if (_path is null)
                    socket.NoDelay = true;
                await using var stream = new NetworkStream(socket);
                await new GdbConnection(_target, stream).RunAsync(_cut.Token).ConfigureAwait(false);
            }
            catch (Exception e) when (e is OperationCanceledException or SocketException or IOException or ObjectDisposedException)
            {
                // The debugger is gone, or the server ends; the loop's condition tells which.
            }
        }
    }

    private static void RemoveStaleSocket(string path, EndPoint address)
    {
        if (!File.Exists(path))
            return;
        using var probe = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        try
        {
            probe.Connect(address);
        }
        catch (SocketException e) when (e.SocketErrorCode == SocketError.ConnectionRefused && new FileInfo(path).Length == 0)
        {
            File.Delete(path);
        }
    }
}
