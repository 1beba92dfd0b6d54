using Xunit.Abstractions;

namespace Doppel.Machine.Tests.Differential;

public sealed class ArithmeticTests(ITestOutputHelper output)
{
    [Theory]
    [InlineData(0)]
    [InlineData(2)]
    [InlineData(3)]
    [InlineData(5)]
    [InlineData(7)]
    public void Add_adc_sbb_sub_cmp_match_the_host(int operation)
    {
        using var runner = new DifferentialRunner(output);
        string lockable = operation == 7 ? "" : " lock";
        runner.Check(8000,
        [
            $"{8 * operation:X2} /r{lockable}", $"{(8 * operation) + 1:X2} /r{lockable}",
            $"{(8 * operation) + 2:X2} /r", $"{(8 * operation) + 3:X2} /r",
            $"{(8 * operation) + 4:X2} ib", $"{(8 * operation) + 5:X2} iz",
            $"80 /{operation} ib{lockable}", $"81 /{operation} iz{lockable}", $"83 /{operation} ib{lockable}",
        ]);
    }

    [Fact]
    public void Inc_dec_neg_match_the_host()
    {
        using var runner = new DifferentialRunner(output);
        runner.Check(12000, ["FE /0 lock", "FE /1 lock", "FF /0 lock", "FF /1 lock", "F6 /3 lock", "F7 /3 lock"]);
    }
}
