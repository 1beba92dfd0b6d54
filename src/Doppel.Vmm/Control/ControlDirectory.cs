using System.Globalization;
using System.Net.Sockets;
using Doppel.Host;
using Doppel.Host.Files;

namespace Doppel.Vmm.Control;

/// <summary>
/// The directory with the control sockets of a user's running machines, one <c>PID.sock</c> each. A socket whose process
/// is gone is stale: nobody listens, and whoever finds it removes it.
/// </summary>
/// <param name="path">The directory. Socket addresses are limited to 107 bytes, so it must be short.</param>
public sealed class ControlDirectory(string path)
{
    private const string Extension = ".sock", Workers = "w";

    /// <summary>The directory's path; it need not exist.</summary>
    public string Path { get; } = path;

    /// <summary>This user's: <c>$XDG_RUNTIME_DIR/doppel</c>, or <c>/tmp/doppel-UID</c> where there is no such directory; <c>$DOPPEL_STATE_DIR/run</c> if that is set.</summary>
    public static ControlDirectory ForUser()
    {
        if (StateDirectory.Chosen is string chosen)
            return new ControlDirectory(System.IO.Path.Combine(chosen, "run"));
        string? runtime = Environment.GetEnvironmentVariable("XDG_RUNTIME_DIR");
        return new ControlDirectory(runtime is not null && System.IO.Path.IsPathRooted(runtime) && Directory.Exists(runtime)
            ? System.IO.Path.Combine(runtime, "doppel")
            : string.Create(CultureInfo.InvariantCulture, $"/tmp/doppel-{PrivateDirectory.UserId}"));
    }

    /// <summary>That of one machine in the background, whose process can reach no other.</summary>
    public ControlDirectory OfMachine(string machine) => new(System.IO.Path.Combine(Path, Workers, machine));

    /// <summary>The sockets on which somebody listens; stale ones are removed. Empty when there is no directory.</summary>
    /// <exception cref="IOException">The directory can't be read.</exception>
    public IReadOnlyList<string> List()
    {
        if (!Directory.Exists(Path))
            return [];
        string workers = System.IO.Path.Combine(Path, Workers);
        IEnumerable<string> folders = Directory.Exists(workers) ? Directory.GetDirectories(workers).Prepend(Path) : [Path];
        return [.. folders.SelectMany(folder => Directory.EnumerateFiles(folder, "*" + Extension)).Where(socket => !RemoveIfStale(socket)).Order(StringComparer.Ordinal)];
    }

    /// <summary>Listens on a new socket of this process.</summary>
    /// <returns>The socket and its path, which its owner deletes at the end.</returns>
    /// <exception cref="IOException">There can't be one; the message says why.</exception>
    internal (Socket Listener, string SocketPath) Listen()
    {
        // It gets its name when it listens already, so that nobody takes it for a stale one.
        string process = Environment.ProcessId.ToString(CultureInfo.InvariantCulture);
        string hidden = System.IO.Path.Combine(Path, $".{process}-{Guid.NewGuid().ToString("N")[..8]}");
        Socket? listener = null;
        try
        {
            PrivateDirectory.Ensure(Path);
            listener = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
            listener.Bind(new UnixDomainSocketEndPoint(hidden));
            File.SetUnixFileMode(hidden, UnixFileMode.UserRead | UnixFileMode.UserWrite);
            listener.Listen(16);
            for (int i = 1; ; i++)
            {
                string name = System.IO.Path.Combine(Path, (i == 1 ? process : $"{process}-{i}") + Extension);
                if (File.Exists(name) && !RemoveIfStale(name))
                    continue;
                File.Move(hidden, name);
                return (listener, name);
            }
        }
        catch (Exception e) when (e is SocketException or IOException or UnauthorizedAccessException or ArgumentException)
        {
            listener?.Dispose();
            if (e is not HostException)
                File.Delete(hidden);
            throw new IOException($"there can be no control socket in {Path}: {e.Message}", e);
        }
    }

    private static bool RemoveIfStale(string socket)
    {
        using var probe = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        try
        {
            probe.Connect(new UnixDomainSocketEndPoint(socket));
            return false;
        }
        catch (SocketException e) when (e.SocketErrorCode is SocketError.ConnectionRefused or SocketError.AddressNotAvailable)
        {
            // Refused, or gone since it was seen.
            File.Delete(socket);
            return true;
        }
        catch (SocketException)
        {
            return false;
        }
    }
}
