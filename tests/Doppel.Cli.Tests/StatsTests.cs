using System.Diagnostics;
using System.Globalization;
using System.Text.Json;
using Doppel.Engines.Kvm;
using Doppel.Vmm;

namespace Doppel.Cli.Tests;

public sealed class StatsTests : IDisposable
{
    private readonly StartedMachines _machines = new();

    public void Dispose() => _machines.Dispose();

    [Fact]
    public void Running_machines_are_shown_by_name_by_process_and_all()
    {
        Process first = Start("one");
        Process second = Start("two");
        string process = first.Id.ToString(CultureInfo.InvariantCulture);
        CommandResult all = Stats();
        Assert.Contains($"one, process {process}, {EngineNames.Default}, 16 MiB, running\n", all.Output, StringComparison.Ordinal);
        Assert.Contains("two, process ", all.Output, StringComparison.Ordinal);
        // On a host whose KVM serves there is nothing to tell.
        if (KvmProbe.FindObstacle() is string obstacle)
            Assert.Contains($"running\nthe engine is {EngineNames.Default}: {obstacle.Split(':')[0]}", all.Output, StringComparison.Ordinal);
        CommandResult one = Stats("one");
        Assert.Matches(@"\ninstructions +[1-9]\d*\n", one.Output);
        Assert.DoesNotContain("two", one.Output, StringComparison.Ordinal);
        Assert.Equal("one", JsonDocument.Parse(Stats(process, "--json").Output).RootElement.GetProperty("name").GetString());
        JsonElement list = JsonDocument.Parse(Stats("--json").Output).RootElement;
        Assert.Equal(2, list.GetArrayLength());
        Assert.All(list.EnumerateArray(), m => Assert.True(m.GetProperty("total").GetProperty("instructions").GetUInt64() > 0));
        Assert.Contains("one\n", Command.Run(["[suggest:13]", "doppel stats "], runtime: _machines.Directory).Output, StringComparison.Ordinal);
        End(first);
        End(second);
    }

    [Fact]
    public void A_name_that_several_have_is_refused_with_their_process_numbers()
    {
        Process first = Start("same");
        Process second = Start("same");
        CommandResult result = Stats("same");
        Assert.Equal(ExitCode.Usage, result.ExitCode);
        Assert.Contains(first.Id.ToString(CultureInfo.InvariantCulture), result.ErrorLine, StringComparison.Ordinal);
        Assert.Contains(second.Id.ToString(CultureInfo.InvariantCulture), result.ErrorLine, StringComparison.Ordinal);
        End(first);
        End(second);
    }

    [Fact]
    public void Nothing_is_found_before_and_after()
    {
        Assert.Equal(("[]\n", ExitCode.Success), (Stats("--json").Output, Stats("--json").ExitCode));
        Assert.Equal(ExitCode.NoMachine, Stats().ExitCode);
        Process killed = Start("gone");
        string sockets = Path.Combine(_machines.Directory, "doppel");
        Assert.Single(Directory.GetFiles(sockets));
        killed.Kill();
        killed.WaitForExit();
        Assert.Contains("gone: no machine of this user", Stats("gone").ErrorLine, StringComparison.Ordinal);
        Assert.Empty(Directory.GetFiles(sockets));
        Process ended = Start("ended");
        End(ended);
        Assert.Empty(Directory.GetFiles(sockets));
    }

    [Fact]
    public async Task Watching_goes_on_until_the_machine_ends()
    {
        Process machine = Start("watched");
        Process watch = Command.Start(["stats", "watched", "--watch"], runtime: _machines.Directory);
        _ = _machines.Add(watch);
        string? line;
        do
            line = await watch.StandardOutput.ReadLineAsync();
        while (line?.EndsWith(" million now", StringComparison.Ordinal) == false);
        Assert.NotNull(line);
        End(machine);
        Task<string> rest = watch.StandardOutput.ReadToEndAsync();
        await watch.WaitForExitAsync();
        _ = await rest;
        Assert.Equal(ExitCode.Success, watch.ExitCode);
    }

    [Fact]
    public void The_run_itself_says_them_at_its_end_as_a_table_and_as_JSON()
    {
        string file = Path.Combine(_machines.Directory, "statistics.json");
        CommandResult result = Command.Run(["run", "--kernel", Kernel(TinyGuest.DebugExit), "--testdev", "--engine", "translator", "--stats", "--stats-json", file], runtime: _machines.Directory);
        Assert.Matches(@"^doppel: [1-9]\d* guest instructions in [\d.]+ s: [\d.]+ million a second\n +machine\ninstructions +\d+\n", result.Errors);
        Assert.Matches(@"\nexits +count +seconds +ns each\ndirect branch +\d+ ", result.Errors);
        JsonElement json = JsonDocument.Parse(File.ReadAllText(file)).RootElement;
        Assert.Equal("ended", json.GetProperty("state").GetString(), ignoreCase: true);
        Assert.StartsWith("kernel-", json.GetProperty("name").GetString(), StringComparison.Ordinal);
        Assert.Equal(5, json.GetProperty("total").GetProperty("exits").GetArrayLength());
        result = Command.Run(["run", "--kernel", Kernel(TinyGuest.DebugExit), "--testdev", "--stats-json", Path.Combine(_machines.Directory, "no", "file")], runtime: _machines.Directory);
        Assert.Equal(ExitCode.Host, result.ExitCode);
    }

    [Theory]
    [InlineData("two words")]
    [InlineData("123")]
    [InlineData("")]
    public void A_name_that_can_not_be_is_refused(string name)
    {
        CommandResult result = Command.Run(["run", "--kernel", Kernel(TinyGuest.DebugExit), "--name", name], runtime: _machines.Directory);
        Assert.Equal(ExitCode.Usage, result.ExitCode);
        Assert.StartsWith($"doppel: --name \"{name}\": ", result.ErrorLine, StringComparison.Ordinal);
    }

    [Fact]
    public void Without_a_place_for_its_socket_a_machine_runs_all_the_same()
    {
        File.WriteAllText(Path.Combine(_machines.Directory, "doppel"), "");
        CommandResult result = Command.Run(["run", "--kernel", Kernel(TinyGuest.PowerOff)], runtime: _machines.Directory);
        Assert.Equal(ExitCode.Success, result.ExitCode);
        Assert.Contains("won't find this machine", result.Errors, StringComparison.Ordinal);
    }

    private static void End(Process machine)
    {
        machine.StandardInput.Write('q');
        machine.StandardInput.Close();
        machine.WaitForExit();
        Assert.Equal(ExitCode.Success, machine.ExitCode);
    }

    private CommandResult Stats(params string[] arguments) => Command.Run(["stats", .. arguments], runtime: _machines.Directory);

    private Process Start(string name)
    {
        Process process = Command.Start(["run", "--name", name, "--kernel", Kernel(TinyGuest.Echo, "up"), "--memory", "16M"], runtime: _machines.Directory);
        _ = _machines.Add(process);
        Assert.Equal('u', process.StandardOutput.Read());
        return process;
    }

    private string Kernel(byte[] ending, string text = "")
    {
        string path = Path.Combine(_machines.Directory, $"kernel-{Guid.NewGuid():N}");
        File.WriteAllBytes(path, TinyGuest.Create(text, ending));
        return path;
    }
}
