using System.CommandLine;
using System.Diagnostics;
using Doppel.Cli.Commands.Machines;
using Doppel.Vmm;
using Doppel.Vmm.Control;
using Doppel.Vmm.Ssh;

namespace Doppel.Cli.Commands;

/// <summary>doppel ssh and cp: the host's OpenSSH, led to a running guest.</summary>
internal static class SshCommand
{
    internal static Command Create()
    {
        Argument<string> machine = LifeCommands.Machine();
        var user = UserOption();
        var words = new Argument<string[]>("command") { Description = "A command to run instead of a shell, after --.", Arity = ArgumentArity.ZeroOrMore };
        var command = new ExampledCommand(
            "ssh",
            "Log in to a running machine, or run a command there; the exit code is the command's.",
            "doppel ssh debian",
            "doppel ssh web -- systemctl is-system-running",
            "doppel ssh web --user root")
        { machine, user, words };
        command.SetAction(async (result, cancel) =>
        {
            (SshAccess access, string name) = await FindAsync(result.GetRequiredValue(machine), cancel).ConfigureAwait(false);
            List<string> arguments = await OptionsAsync("-p", access, cancel).ConfigureAwait(false);
            arguments.AddRange(["-l", result.GetValue(user) ?? access.User, "--", "127.0.0.1"]);
            arguments.AddRange(result.GetValue(words) ?? []);
            return Run("ssh", arguments, name);
        });
        return command;
    }

    internal static Command CreateCopy()
    {
        var source = new Argument<string>("source") { Description = "A path of the host, or MACHINE:PATH." };
        var target = new Argument<string>("target") { Description = "MACHINE:PATH, or a path of the host." };
        var user = UserOption();
        var recursive = new Option<bool>("--recursive", "-r") { Description = "Copy folders with all that is in them." };
        var command = new ExampledCommand(
            "cp",
            "Copy files to a running machine, or from it.",
            "doppel cp notes.txt web:/root/",
            "doppel cp -r web:/var/log ./log")
        { source, target, user, recursive };
        command.SetAction(async (result, cancel) =>
        {
            string from = result.GetRequiredValue(source), to = result.GetRequiredValue(target);
            (string? Machine, string Path) left = Split(from), right = Split(to);
            if (left.Machine is null == right.Machine is null)
                throw new CliException(ExitCode.Usage, $"doppel cp {from} {to}: one of them as MACHINE:PATH, the other as a path of the host, would be right");
            (SshAccess access, string name) = await FindAsync((left.Machine ?? right.Machine)!, cancel).ConfigureAwait(false);
            string Place((string? Machine, string Path) end) => end.Machine is null ? end.Path : $"{result.GetValue(user) ?? access.User}@127.0.0.1:{end.Path}";
            List<string> arguments = await OptionsAsync("-P", access, cancel).ConfigureAwait(false);
            if (result.GetValue(recursive))
                arguments.Add("-r");
            arguments.AddRange(["--", Place(left), Place(right)]);
            return Run("scp", arguments, name);
        });
        return command;
    }

    // A path with a slash before its first colon is one of the host, as scp has it; so is one below the present directory.
    internal static (string? Machine, string Path) Split(string text)
    {
        int colon = text.IndexOf(':', StringComparison.Ordinal), slash = text.IndexOf('/', StringComparison.Ordinal);
        if (colon > 0 && (slash < 0 || slash > colon))
            return (text[..colon], text[(colon + 1)..]);
        // scp must not take it for an option, nor for another machine's.
        return (null, text.StartsWith('/') ? text : $"./{text}");
    }

    private static Option<string?> UserOption() => new("--user") { Description = "The account [default: that of \"doppel run --user\", else root].", HelpName = "NAME" };

    private static async Task<(SshAccess Access, string Name)> FindAsync(string machine, CancellationToken cancel)
    {
        (MachineStatistics statistics, ControlReply reply) = await RunningMachines.AskAsync(machine, new ControlRequest(ControlRequest.Access), cancel).ConfigureAwait(false);
        return reply.Access is SshAccess access
            ? (access, statistics.Name)
            : throw new CliException(ExitCode.NoMachine, $"{machine}: that machine has no SSH access; \"doppel run debian\" with --net user would be right");
    }

    private static async Task<List<string>> OptionsAsync(string portOption, SshAccess access, CancellationToken cancel)
    {
        StateDirectory state = StateDirectory.ForUser();
        SshIdentity? identity = await SshIdentity.EnsureAsync(state, cancel).ConfigureAwait(false);
        List<string> arguments =
        [
            portOption, $"{access.Port}",
            "-o", "LogLevel=ERROR",
        ];
        arguments.AddRange(access.HostKeyAlias is string alias
            ? ["-o", $"HostKeyAlias={alias}", "-o", $"UserKnownHostsFile={Path.Combine(state.Path, "ssh", "known_hosts")}", "-o", "StrictHostKeyChecking=accept-new"]
            : ["-o", "UserKnownHostsFile=/dev/null", "-o", "StrictHostKeyChecking=no"]);
        if (identity is not null)
            arguments.AddRange(["-o", "IdentitiesOnly=yes", "-i", identity.KeyPath]);
        return arguments;
    }

    private static int Run(string program, List<string> arguments, string machine)
    {
        // A Ctrl-C is for the guest's program, or ends ssh; this one then ends, too.
        using var interruption = new Interruption();
        try
        {
            using Process process = Process.Start(new ProcessStartInfo(program, arguments))!;
            process.WaitForExit();
            const int ConnectionFailed = 255;
            if (process.ExitCode == ConnectionFailed)
                Talk.Error($"{machine}: {program} failed; a guest that is still booting has no SSH server yet, and \"doppel run\" shows its console");
            return process.ExitCode;
        }
        catch (System.ComponentModel.Win32Exception e)
        {
            throw new CliException(ExitCode.Host, $"{program} can't be started: {e.Message}; install it (Debian: apt install openssh-client)", e);
        }
    }
}
