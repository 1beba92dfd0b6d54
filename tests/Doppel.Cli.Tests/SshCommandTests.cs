using Doppel.Cli.Commands;

namespace Doppel.Cli.Tests;

public sealed class SshCommandTests
{
    [Theory]
    [InlineData("web:/root/", "web", "/root/")]
    [InlineData("web:", "web", "")]
    [InlineData("notes.txt", null, "./notes.txt")]
    [InlineData("-r", null, "./-r")]
    [InlineData("./a:b", null, "././a:b")]
    [InlineData("/tmp/a:b", null, "/tmp/a:b")]
    [InlineData(":x", null, "./:x")]
    public void A_place_is_a_machines_or_the_hosts(string text, string? machine, string path) =>
        Assert.Equal((machine, path), SshCommand.Split(text));

    [Theory]
    [InlineData("cp a b")]
    [InlineData("cp web:a web:b")]
    public void One_end_of_a_copy_is_a_machine(string line) =>
        Assert.Contains("MACHINE:PATH", Command.Run(line.Split(' ')).ErrorLine, StringComparison.Ordinal);

    [Fact]
    public void A_machine_that_does_not_run_is_named()
    {
        CommandResult result = Command.Run(["ssh", "nobody"], runtime: Path.GetTempPath());
        Assert.Equal(ExitCode.NoMachine, result.ExitCode);
        Assert.Contains("nobody", result.ErrorLine, StringComparison.Ordinal);
    }
}
