using Xunit.Abstractions;

namespace Doppel.Machine.Tests.Differential;

public sealed class ShiftTests(ITestOutputHelper output)
{
    [Theory]
    [InlineData("shl", 4)]
    [InlineData("shr", 5)]
    [InlineData("sal", 6)]
    [InlineData("sar", 7)]
    public void Shifts_match_the_host(string name, int extension) => Check(name, extension);

    [Theory]
    [InlineData("rol", 0)]
    [InlineData("ror", 1)]
    [InlineData("rcl", 2)]
    [InlineData("rcr", 3)]
    public void Rotates_match_the_host(string name, int extension) => Check(name, extension);

    [Fact]
    public void Double_shifts_match_the_host()
    {
        using var runner = new DifferentialRunner(output);
        runner.Check(16000, ["0F A4 /r ib", "0F A5 /r", "0F AC /r ib", "0F AD /r"], test =>
        {
            // A 16-bit double shift by more than 16 leaves everything undefined.
            int count = test.Instruction.Op2Kind == Iced.Intel.OpKind.Immediate8 ? test.Instruction.Immediate8 : (int)test.Registers.Gpr[1];
            return test.OperandWidth != 16 || (count & 31) <= 16;
        });
    }

    private void Check(string name, int extension)
    {
        output.WriteLine(name);
        using var runner = new DifferentialRunner(output);
        runner.Check(8000, [$"C0 /{extension} ib", $"C1 /{extension} ib", $"D0 /{extension}", $"D1 /{extension}", $"D2 /{extension}", $"D3 /{extension}"]);
    }
}
