using System.Net.Sockets;
using Doppel.Vmm.Consoles;
using Doppel.Vmm.Migration;

namespace Doppel.Vmm.Control;

/// <summary>Answers requests about a machine on a Unix socket that only its user can open. Several may ask at once.</summary>
public sealed class ControlServer : IAsyncDisposable
{
    private readonly MachineControl _control;
    private readonly Socket _listener;
    private readonly CancellationTokenSource _end = new();
    private readonly Task _task;

    private ControlServer(MachineControl control, Socket listener, string path)
    {
        _control = control;
        _listener = listener;
        Path = path;
        _task = AcceptAsync();
    }

    /// <summary>The socket.</summary>
    public string Path { get; }

    /// <summary>Starts to listen.</summary>
    /// <param name="machine">The machine.</param>
    /// <param name="directory">Where the socket goes.</param>
    /// <param name="state">Where the machine's snapshots go; null for the user's directory.</param>
    /// <param name="console">The machine's serial console, for those who come; null for nobody.</param>
    /// <param name="departure">Moves the machine to other hosts; null when it can't be moved.</param>
    /// <exception cref="IOException">There can't be a socket; the message says why.</exception>
    public static ControlServer Start(VirtualMachine machine, ControlDirectory directory, StateDirectory? state = null, SharedConsole? console = null, MachineDeparture? departure = null)
    {
        ArgumentNullException.ThrowIfNull(directory);
        (Socket listener, string path) = directory.Listen();
        return new ControlServer(new MachineControl(machine, state ?? StateDirectory.ForUser(), console, departure), listener, path);
    }

    /// <summary>Makes a socket for a machine that isn't there yet, as one must that may make none later. Who connects waits.</summary>
    /// <param name="directory">Where the socket goes.</param>
    /// <exception cref="IOException">There can't be a socket; the message says why.</exception>
    public static ControlSocket Listen(ControlDirectory directory)
    {
        ArgumentNullException.ThrowIfNull(directory);
        (Socket listener, string path) = directory.Listen();
        return new ControlSocket(listener, path);
    }

    /// <summary>Begins to answer at a socket that was made before; it is the server's then.</summary>
    /// <param name="machine">The machine.</param>
    /// <param name="socket">The socket.</param>
    /// <param name="state">Where the machine's snapshots go.</param>
    /// <param name="console">The machine's serial console, for those who come; null for nobody.</param>
    /// <param name="departure">Moves the machine to other hosts; null when it can't be moved.</param>
    public static ControlServer Start(VirtualMachine machine, ControlSocket socket, StateDirectory state, SharedConsole? console = null, MachineDeparture? departure = null)
    {
        ArgumentNullException.ThrowIfNull(socket);
        (Socket listener, string path) = socket.Take();
        return new ControlServer(new MachineControl(machine, state, console, departure), listener, path);
    }

    /// <summary>Ends all connections and removes the socket.</summary>
    public async ValueTask DisposeAsync()
    {
        File.Delete(Path);
        await _end.CancelAsync().ConfigureAwait(false);
        _listener.Dispose();
        await _task.ConfigureAwait(false);
        _end.Dispose();
    }

    private async Task AcceptAsync()
    {
        var connections = new List<Task>();
        while (!_end.IsCancellationRequested)
        {
            try
            {
                Socket socket = await _listener.AcceptAsync(_end.Token).ConfigureAwait(false);
                _ = connections.RemoveAll(connection => connection.IsCompleted);
                connections.Add(ServeAsync(socket));
            }
            catch (Exception e) when (e is OperationCanceledException or SocketException or ObjectDisposedException)
            {
                // The server ends, or whoever connected is gone; the loop's condition tells which.
            }
        }

        await Task.WhenAll(connections).ConfigureAwait(false);
    }

    private async Task ServeAsync(Socket socket)
    {
        try
        {
            await using var stream = new NetworkStream(socket, ownsSocket: true);
            await new ControlSession(stream, _control).RunAsync(_end.Token).ConfigureAwait(false);
        }
        catch (Exception e) when (e is OperationCanceledException or IOException)
        {
            // The other end is gone, or the server ends.
        }
    }
}
