using System.Diagnostics;
using System.Text.Json;

namespace Doppel.Cli.Tests;

/// <summary>doppel pause, suspend, resume, update and snapshot, as processes.</summary>
public sealed class SnapshotCommandTests : IDisposable
{
    private readonly StartedMachines _machines = new();

    public void Dispose() => _machines.Dispose();

    [Fact]
    public void A_machine_is_paused_changed_and_goes_on()
    {
        Process machine = Start("one");
        Assert.Equal(ExitCode.Success, Doppel("pause", "one").ExitCode);
        Assert.Contains(", paused\n", Doppel("stats", "one").Output, StringComparison.Ordinal);
        Assert.Equal(ExitCode.Success, Doppel("update", "one", "--engine", "interpreter").ExitCode);
        Assert.Equal(ExitCode.Success, Doppel("resume", "one").ExitCode);
        Assert.Contains(", interpreter, 16 MiB, running\n", Doppel("stats", "one").Output, StringComparison.Ordinal);
        Echo(machine, 'a', 'b');
        Assert.Contains("interpreter", Doppel("update", "one", "--engine", "steam").ErrorLine, StringComparison.Ordinal);
        Assert.Equal(ExitCode.Usage, Doppel("update", "one").ExitCode);
        Assert.Equal(ExitCode.NoMachine, Doppel("pause", "two").ExitCode);
        Assert.Equal(ExitCode.NoMachine, Doppel("resume", "two").ExitCode);
        Assert.Equal(ExitCode.NoMachine, Doppel("snapshot", "create", "two").ExitCode);
    }

    [Fact]
    public void A_suspended_machine_goes_on_in_another_process_under_another_engine()
    {
        Process machine = Start("one");
        CommandResult suspended = Doppel("suspend", "one", "--description", "for now");
        Assert.Equal(ExitCode.Success, suspended.ExitCode);
        machine.WaitForExit();
        Assert.Equal(ExitCode.Success, machine.ExitCode);
        Assert.Contains("doppel resume one", machine.StandardError.ReadToEnd(), StringComparison.Ordinal);
        Process later = Command.Start(["resume", "one", "--engine", "interpreter"], runtime: _machines.Directory, state: _machines.Directory);
        _ = _machines.Add(later);
        Echo(later, 'c', 'd');
        Assert.Contains(", interpreter, 16 MiB, running\n", Doppel("stats", "one").Output, StringComparison.Ordinal);
        later.StandardInput.Write('q');
        later.StandardInput.Close();
        later.WaitForExit();
        Assert.Equal(ExitCode.Success, later.ExitCode);
        Assert.Equal(ExitCode.NoMachine, Doppel("resume", "one").ExitCode);
    }

    [Fact]
    public void Snapshots_are_made_listed_shown_checked_restored_and_removed()
    {
        Process machine = Start("one");
        Assert.Equal(ExitCode.Success, Doppel("snapshot", "create", "one", "--description", "the first").ExitCode);
        JsonElement made = JsonDocument.Parse(Doppel("snapshot", "create", "one", "clean", "--json").Output).RootElement;
        Assert.Equal(("clean", "s1"), (made.GetProperty("name").GetString(), made.GetProperty("parent").GetString()));
        Assert.Contains("\"clean\"", Doppel("snapshot", "create", "one", "clean").ErrorLine, StringComparison.Ordinal);
        string[] lines = Doppel("snapshot", "ls", "one").Output.TrimEnd('\n').Split('\n');
        Assert.Equal(3, lines.Length);
        Assert.StartsWith("s1 ", lines[1], StringComparison.Ordinal);
        Assert.EndsWith("the first", lines[1], StringComparison.Ordinal);
        Assert.StartsWith("  clean ", lines[2], StringComparison.Ordinal);
        Assert.Equal(2, JsonDocument.Parse(Doppel("snapshot", "ls", "one", "--json").Output).RootElement.GetArrayLength());
        Assert.Equal("s1", JsonDocument.Parse(Doppel("snapshot", "show", "one", "clean").Output).RootElement.GetProperty("parent").GetString());
        Assert.Equal(ExitCode.Success, Doppel("snapshot", "check", "one", "clean").ExitCode);
        Assert.Contains("s1, clean", Doppel("snapshot", "show", "one", "dirty").ErrorLine, StringComparison.Ordinal);

        // A machine that runs goes back where it is.
        Assert.Equal(ExitCode.Success, Doppel("snapshot", "restore", "one", "s1").ExitCode);
        Echo(machine, 'x', 'y');
        machine.Kill();
        machine.WaitForExit();
        Process again = Command.Start(["snapshot", "restore", "one", "clean"], runtime: _machines.Directory, state: _machines.Directory);
        _ = _machines.Add(again);
        Echo(again, 'x', 'y');
        Assert.Contains("clean", Doppel("snapshot", "rm", "one", "s1").ErrorLine, StringComparison.Ordinal);
        Assert.Equal(ExitCode.Success, Doppel("snapshot", "rm", "one", "s1", "--recursive").ExitCode);
        Assert.Equal("[]\n", Doppel("snapshot", "ls", "one", "--json").Output);
    }

    [Fact]
    public void A_damaged_snapshot_is_refused_by_its_section()
    {
        _ = Start("one");
        Assert.Equal(ExitCode.Success, Doppel("snapshot", "create", "one").ExitCode);
        string folder = Path.Combine(_machines.Directory, "doppel", "machines", "one", "snapshots", "s1");
        byte[] sections = File.ReadAllBytes(Path.Combine(folder, "sections"));
        sections[3] ^= 1;
        File.WriteAllBytes(Path.Combine(folder, "sections"), sections);
        CommandResult result = Doppel("snapshot", "restore", "one", "s1");
        Assert.Contains("section clock is damaged", result.ErrorLine, StringComparison.Ordinal);
        Assert.NotEqual(ExitCode.Success, result.ExitCode);
        result = Doppel("snapshot", "check", "one", "s1");
        Assert.Equal(ExitCode.Input, result.ExitCode);
        File.WriteAllText(Path.Combine(folder, "manifest.json"), "{}");
        Assert.Equal(ExitCode.Input, Doppel("snapshot", "ls", "one").ExitCode);
    }

    private static void Echo(Process machine, char sent, char answer)
    {
        machine.StandardInput.Write(sent);
        machine.StandardInput.Flush();
        Assert.Equal(answer, (char)machine.StandardOutput.Read());
    }

    private CommandResult Doppel(params string[] arguments) => Command.Run(arguments, runtime: _machines.Directory, state: _machines.Directory);

    private Process Start(string name)
    {
        string kernel = Path.Combine(_machines.Directory, "kernel");
        File.WriteAllBytes(kernel, TinyGuest.Create("up", TinyGuest.Echo));
        Process process = Command.Start(["run", "--name", name, "--kernel", kernel, "--memory", "16M", "--engine", "translator"], runtime: _machines.Directory, state: _machines.Directory);
        _ = _machines.Add(process);
        Assert.Equal('u', process.StandardOutput.Read());
        Assert.Equal('p', process.StandardOutput.Read());
        return process;
    }
}
