using Xunit.Abstractions;

namespace Doppel.Machine.Tests.Differential;

public sealed class LogicTests(ITestOutputHelper output)
{
    [Theory]
    [InlineData(1)]
    [InlineData(4)]
    [InlineData(6)]
    public void Or_and_xor_match_the_host(int operation)
    {
        using var runner = new DifferentialRunner(output);
        runner.Check(8000,
        [
            $"{8 * operation:X2} /r lock", $"{(8 * operation) + 1:X2} /r lock",
            $"{(8 * operation) + 2:X2} /r", $"{(8 * operation) + 3:X2} /r",
            $"{(8 * operation) + 4:X2} ib", $"{(8 * operation) + 5:X2} iz",
            $"80 /{operation} ib lock", $"81 /{operation} iz lock", $"83 /{operation} ib lock",
        ]);
    }

    [Fact]
    public void Test_and_not_match_the_host()
    {
        using var runner = new DifferentialRunner(output);
        runner.Check(12000, ["84 /r", "85 /r", "A8 ib", "A9 iz", "F6 /0 ib", "F7 /0 iz", "F6 /1 ib", "F7 /1 iz", "F6 /2 lock", "F7 /2 lock"]);
    }
}
