using Doppel.Engines.Kvm;

namespace Doppel.Cli.Tests;

/// <summary>What a user is told of engines that can't be had. On a host whose KVM serves there is nothing to tell.</summary>
public sealed class EngineTests
{
    [Fact]
    public void Kvm_that_cannot_serve_is_refused_with_its_reason()
    {
        if (KvmProbe.FindObstacle() is not string obstacle)
            return;
        CommandResult result = Command.Run(["run", "--engine", "kvm", "--kernel", "/dev/null"]);
        Assert.Equal(ExitCode.Usage, result.ExitCode);
        // What a loop took differs from one look to the next.
        Assert.StartsWith($"doppel: --engine kvm: {obstacle.Split(':')[0]}", result.ErrorLine, StringComparison.Ordinal);
        Assert.EndsWith("would be right", result.ErrorLine, StringComparison.Ordinal);
    }

    [Fact]
    public void An_engine_that_there_is_not_is_answered_with_those_that_there_are() => Assert.Equal(
        "doppel: --engine warp: there is no such engine; interpreter, translator, kvm, auto would be right",
        Command.Run(["run", "--engine", "warp", "--kernel", "/dev/null"]).ErrorLine);

    [Fact]
    public void Lockstep_needs_engines_that_count() => Assert.Equal(
        "doppel: --engines kvm,translator: two of interpreter, translator, separated by a comma, would be right",
        Command.Run(["lockstep", "--engines", "kvm,translator", "--kernel", "/dev/null"]).ErrorLine);

    [Fact]
    public void Lockstep_runs_a_guest_to_its_end()
    {
        string kernel = Path.GetTempFileName();
        try
        {
            File.WriteAllBytes(kernel, TinyGuest.Create("both alike", TinyGuest.PowerOff));
            CommandResult result = Command.Run(["lockstep", "--kernel", kernel, "--memory", "16M"]);
            Assert.Equal((0, "both alike"), (result.ExitCode, result.Output));
            Assert.StartsWith("doppel: no difference in ", result.ErrorLine, StringComparison.Ordinal);
        }
        finally
        {
            File.Delete(kernel);
        }
    }
}
