using System.CommandLine;
using Doppel.Api;
using Doppel.Vmm;

namespace Doppel.Cli.Commands.Machines;

/// <summary>The way to this user's daemon.</summary>
internal static class Daemon
{
    private const string ProgramVariable = "DOPPEL_DAEMON";

    /// <summary>A client of the daemon: another host's if the command line or the environment names one, else the user's, which is started if it doesn't run.</summary>
    /// <exception cref="IOException">It doesn't start.</exception>
    /// <exception cref="CliException">The other host's address can't be.</exception>
    internal static DaemonClient Connect(ParseResult result)
    {
        if (HostOptions.Read(result) is Remote remote)
            return new DaemonClient(remote);
        var location = DaemonLocation.ForUser();
        location.EnsureUp(Environment.GetEnvironmentVariable(ProgramVariable) ?? Path.Combine(AppContext.BaseDirectory, "doppeld"));
        return new DaemonClient(location.Socket);
    }

    /// <summary>The same for a machine that is kept; null for one that isn't: it may run in some terminal, and its process is asked then.</summary>
    internal static DaemonClient? ConnectFor(ParseResult result, string machine) =>
        HostOptions.IsGiven(result) || (MachineSpecValidation.IsName(machine) && new MachineFolder(StateDirectory.ForUser(), machine).Record is not null) ? Connect(result) : null;

    /// <summary>An argument that names a kept machine.</summary>
    internal static Argument<string> Machine(string description = "The machine's name.")
    {
        var machine = new Argument<string>("machine") { Description = description, HelpName = "machine" };
        machine.CompletionSources.Add(_ => Names());
        return machine;
    }

    // Without the daemon, which a key press should not start.
    private static IEnumerable<string> Names()
    {
        StateDirectory state = StateDirectory.ForUser();
        string machines = Path.Combine(state.Path, "machines");
        return Directory.Exists(machines) ? Directory.GetDirectories(machines).Select(path => Path.GetFileName(path)).Where(name => !name.StartsWith('.')) : [];
    }
}
