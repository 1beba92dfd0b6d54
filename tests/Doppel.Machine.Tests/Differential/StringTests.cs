using Doppel.Machine.Cpu;
using Xunit.Abstractions;

namespace Doppel.Machine.Tests.Differential;

public sealed class StringTests(ITestOutputHelper output)
{
    [Fact]
    public void Moves_and_stores_match_the_host() => Check(["A4", "A5", "AA", "AB", "AC", "AD", "F3 A4", "F3 A5", "F3 AA", "F3 AB", "F3 AC", "F3 AD", "F2 A4", "F2 AB"]);

    [Fact]
    public void Comparisons_and_scans_match_the_host() => Check(["A6", "A7", "AE", "AF", "F3 A6", "F3 A7", "F3 AE", "F3 AF", "F2 A6", "F2 A7", "F2 AE", "F2 AF"]);

    private void Check(string[] templates)
    {
        using var runner = new DifferentialRunner(output);
        runner.Check(12000, templates, test =>
        {
            test.Registers.Gpr[1] = (ulong)(test.Random.Next(3) == 0 ? test.Random.Next(3) : test.Random.Next(100));
            test.Registers.Gpr[6] = test.RandomTarget;
            test.Registers.Gpr[7] = test.Random.Next(2) == 0 ? test.RandomTarget : test.Registers.Gpr[6] + (ulong)test.Random.Next(-20, 20);
            if (test.Random.Next(2) == 0)
                test.Registers.Flags |= CpuFlags.Df;
            // Long runs of equal bytes keep comparisons and scans going.
            if (test.Random.Next(2) == 0)
            {
                test.Registers.Gpr[0] = 0;
                test.Window.AsSpan(0, test.Random.Next(TestCase.WindowSize)).Clear();
            }

            return true;
        });
    }
}
