using Xunit.Abstractions;

namespace Doppel.Machine.Tests.Differential;

public sealed class ConditionTests(ITestOutputHelper output)
{
    [Fact]
    public void Conditional_sets_and_moves_match_the_host()
    {
        using var runner = new DifferentialRunner(output);
        string[] templates = [.. Enumerable.Range(0, 16).SelectMany(condition => new[] { $"0F {0x40 + condition:X2} /r", $"0F {0x90 + condition:X2} /r" })];
        runner.Check(16000, templates);
    }

    [Fact]
    public void Flag_instructions_match_the_host()
    {
        using var runner = new DifferentialRunner(output);
        runner.Check(8000, ["9E", "9F", "F5", "F8", "F9", "FC", "FD"]);
    }

    [Fact]
    public void Branches_match_the_host()
    {
        using var runner = new DifferentialRunner(output);
        for (int i = 0; i < 8000; i++)
        {
            int condition = i & 15;
            runner.CheckCode(i % 3 == 0
                ? [0x0F, (byte)(0x80 + condition), HostOracle.BranchDistance, 0, 0, 0]
                : [(byte)(0x70 + condition), HostOracle.BranchDistance]);
        }

        for (int i = 0; i < 2000; i++)
        {
            runner.CheckCode([(byte)(0xE0 + (i & 3)), HostOracle.BranchDistance]);
            runner.CheckCode([0x67, (byte)(0xE0 + (i & 3)), HostOracle.BranchDistance]);
        }

        runner.CheckCode([0xEB, HostOracle.BranchDistance]);
        runner.CheckCode([0xE9, HostOracle.BranchDistance, 0, 0, 0]);
    }
}
