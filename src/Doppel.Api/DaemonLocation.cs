using System.Diagnostics;
using System.Net.Sockets;
using Doppel.Host.Files;
using Doppel.Vmm;
using Doppel.Vmm.Control;

namespace Doppel.Api;

/// <summary>Where a user's daemon listens, and how it is started.</summary>
/// <param name="runtime">The directory of its socket, which only its user can open.</param>
/// <param name="state">Where machines are.</param>
public sealed class DaemonLocation(ControlDirectory runtime, StateDirectory state)
{
    /// <summary>What the daemon says on standard output when it listens.</summary>
    public const string Ready = "ready";

    /// <summary>This user's.</summary>
    public static DaemonLocation ForUser() => new(ControlDirectory.ForUser(), StateDirectory.ForUser());

    /// <summary>Where machines are.</summary>
    public StateDirectory State => state;

    /// <summary>Where machines' sockets are.</summary>
    public ControlDirectory Runtime => runtime;

    /// <summary>The daemon's socket.</summary>
    public string Socket => Path.Combine(runtime.Path, "doppeld");

    /// <summary>Held by the daemon as long as it runs: there is one for each state directory.</summary>
    public string LockPath => Path.Combine(state.Path, "doppeld.lock");

    /// <summary>True when somebody listens.</summary>
    public bool IsUp()
    {
        using var probe = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        try
        {
            probe.Connect(new UnixDomainSocketEndPoint(Socket));
            return true;
        }
        catch (SocketException)
        {
            return false;
        }
    }

    /// <summary>Starts the daemon unless it runs; returns when it listens. Several may ask at once.</summary>
    /// <param name="program">The daemon's program.</param>
    /// <exception cref="IOException">It doesn't start; the message says why.</exception>
    public void EnsureUp(string program)
    {
        if (IsUp())
            return;
        PrivateDirectory.Ensure(runtime.Path);
        using FileLock starting = FileLock.Take(Path.Combine(runtime.Path, "doppeld.start"));
        if (IsUp())
            return;
        var info = new ProcessStartInfo(program) { RedirectStandardInput = true, RedirectStandardOutput = true, RedirectStandardError = true, WorkingDirectory = "/" };
        using Process daemon = Start(info);
        daemon.StandardInput.Close();
        if (daemon.StandardOutput.ReadLine() == Ready)
            return;
        string said = daemon.StandardError.ReadToEnd().Trim();
        throw new IOException($"the daemon ({program}) does not start: {(said.Length == 0 ? "it says nothing" : said)}");
    }

    private static Process Start(ProcessStartInfo info)
    {
        try
        {
            return Process.Start(info)!;
        }
        catch (System.ComponentModel.Win32Exception e)
        {
            throw new IOException($"the daemon ({info.FileName}) can't be started: {e.Message}", e);
        }
    }
}
