using System.CommandLine;
using System.Diagnostics;
using System.Globalization;
using System.Reflection;
using System.Text.Json;
using Doppel.Vmm.Tests.Images;

namespace Doppel.Cli.Tests;

public sealed class CommandTests : IDisposable
{
    private readonly string _cache = Directory.CreateTempSubdirectory("doppel-cli-").FullName;

    public void Dispose() => Directory.Delete(_cache, recursive: true);

    [Theory]
    [InlineData("version")]
    [InlineData("--version")]
    public void The_version_is_printed(string argument)
    {
        CommandResult result = Command.Run([argument]);
        Assert.Matches(@"^doppel \d+\.\d+\.\d+\n$", result.Output);
        Assert.Equal((0, ""), (result.ExitCode, result.Errors));
    }

    [Fact]
    public void No_argument_shows_the_help_and_is_a_usage_error()
    {
        CommandResult result = Command.Run([]);
        Assert.Contains("run", result.Output, StringComparison.Ordinal);
        Assert.Equal(ExitCode.Usage, result.ExitCode);
    }

    [Fact]
    public void The_names_in_the_list_of_commands_are_short()
    {
        string[] lines = Command.Run(["--help"]).Output.Split('\n');
        int column = lines.Where(line => line.StartsWith("  ps ", StringComparison.Ordinal)).Select(line => line.Length - line[4..].TrimStart().Length).Single();
        Assert.InRange(column, 1, 60);
    }

    [Fact]
    public void CPU_models_are_listed_and_shown_as_text_and_JSON()
    {
        Assert.Contains("x86-64-v2", Command.Run(["cpu", "ls"]).Output, StringComparison.Ordinal);
        JsonElement models = JsonDocument.Parse(Command.Run(["cpu", "ls", "--json"]).Output).RootElement;
        Assert.Contains(models.EnumerateArray(), m => m.GetProperty("name").GetString() == "x86-64-v2" && m.GetProperty("runsHere").GetBoolean());
        Assert.Contains("ssse3", Command.Run(["cpu", "show", "x86-64-v2"]).Output, StringComparison.Ordinal);
        JsonElement model = JsonDocument.Parse(Command.Run(["cpu", "show", "x86-64-v2", "--json"]).Output).RootElement;
        Assert.Contains("ssse3", model.GetProperty("features").EnumerateArray().Select(f => f.GetString()));
        Assert.DoesNotContain("avx2", model.GetProperty("features").EnumerateArray().Select(f => f.GetString()));
    }

    [Fact]
    public void An_image_is_pulled_from_a_mirror_listed_and_removed()
    {
        using var mirror = new FakeMirror();
        CommandResult pull = Command.Run(["image", "pull", "busybox", "--mirror", mirror.Url, "--suite", FakeMirror.Suite, "--unsigned", "--json"], cache: _cache);
        Assert.Equal(0, pull.ExitCode);
        Assert.Equal("6.1.0-9-cloud-amd64", JsonDocument.Parse(pull.Output).RootElement.GetProperty("kernelVersion").GetString());
        Assert.Contains("downloading busybox-static", pull.Errors, StringComparison.Ordinal);
        Assert.True(File.Exists(Path.Combine(_cache, "doppel", "images", "busybox", "vmlinuz")));
        Assert.Contains("6.1.0-9-cloud-amd64", Command.Run(["image", "ls"], cache: _cache).Output, StringComparison.Ordinal);
        Assert.Equal(0, Command.Run(["image", "rm", "busybox"], cache: _cache).ExitCode);
        Assert.Equal("[]\n", Command.Run(["image", "ls", "--json"], cache: _cache).Output);
    }

    [Fact]
    public void The_shell_is_told_what_may_follow()
    {
        Assert.Contains("run", Command.Run(["[suggest:8]", "doppel r"]).Output.Split('\n'));
        Assert.Contains("x86-64-v3", Command.Run(["[suggest:17]", "doppel run --cpu "]).Output.Split('\n'));
    }

    [Fact]
    public void The_completion_script_for_bash_completes_in_bash()
    {
        string script = Command.Run(["completion", "bash"]).Output;
        var info = new ProcessStartInfo("bash", ["--norc", "-s"]) { RedirectStandardInput = true, RedirectStandardOutput = true };
        info.Environment["PATH"] = $"{Path.GetDirectoryName(Command.Path)}:{Environment.GetEnvironmentVariable("PATH")}";
        using Process bash = Process.Start(info)!;
        bash.StandardInput.Write(script + "\nCOMP_LINE='doppel image p' COMP_POINT=14 COMP_WORDS=(doppel image p) COMP_CWORD=2\n_doppel\nprintf '%s\\n' \"${COMPREPLY[@]}\"\n");
        bash.StandardInput.Close();
        Assert.Equal("pull\n", bash.StandardOutput.ReadToEnd());
        bash.WaitForExit();
    }

    [Theory]
    [InlineData("zsh", "compdef _doppel doppel")]
    [InlineData("fish", "complete -c doppel")]
    public void Other_shells_have_their_scripts(string shell, string expected) =>
        Assert.Contains(expected, Command.Run(["completion", shell]).Output, StringComparison.Ordinal);

    [Fact]
    public void The_documentation_names_every_command_option_and_exit_code()
    {
        string text = File.ReadAllText(Path.Combine(Repository(), "docs", "cli.md"));
        foreach (System.CommandLine.Command command in CommandTree.Create().Subcommands)
        {
            Assert.Contains($"doppel {command.Name}", text, StringComparison.Ordinal);
            foreach (Option option in command.Subcommands.Append(command).SelectMany(c => c.Options))
                Assert.Contains(option.Name, text, StringComparison.Ordinal);
        }

        foreach (FieldInfo code in typeof(ExitCode).GetFields(BindingFlags.Static | BindingFlags.NonPublic).Where(f => f.IsLiteral))
        {
            int value = (int)code.GetRawConstantValue()!;
            Assert.Contains(value switch
            {
                ExitCode.Signal => "| 128 + n |",
                ExitCode.BrokenPipe => "141",
                _ => string.Create(CultureInfo.InvariantCulture, $"| {value} |"),
            }, text, StringComparison.Ordinal);
        }
    }

    private static string Repository()
    {
        string directory = AppContext.BaseDirectory;
        while (!File.Exists(Path.Combine(directory, "Doppel.slnx")))
            directory = Path.GetDirectoryName(directory)!;
        return directory;
    }
}
