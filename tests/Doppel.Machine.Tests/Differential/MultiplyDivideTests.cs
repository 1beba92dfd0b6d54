using Doppel.Machine.Cpu;
using Iced.Intel;
using Xunit.Abstractions;

namespace Doppel.Machine.Tests.Differential;

public sealed class MultiplyDivideTests(ITestOutputHelper output)
{
    [Fact]
    public void Multiplications_match_the_host()
    {
        using var runner = new DifferentialRunner(output);
        runner.Check(16000, ["F6 /4", "F7 /4", "F6 /5", "F7 /5", "0F AF /r", "69 /r iz", "6B /r ib"]);
    }

    [Fact]
    public void Divisions_match_the_host_and_raise_DE_where_it_does()
    {
        using var runner = new DifferentialRunner(output);
        int faults = 0;
        runner.Check(16000, ["F6 /6", "F7 /6", "F6 /7", "F7 /7"], test =>
        {
            if (test.Random.Next(2) == 0 && !UsesRdx(test.Instruction))
            {
                // A small high half makes quotients that fit.
                test.Registers.Gpr[2] = test.Instruction.Mnemonic == Mnemonic.Idiv ? (ulong)((long)test.Registers.Gpr[0] >> 63) : 0;
            }

            if (!Overflows(test))
                return true;
            faults++;
            runner.CheckFault(ExceptionVector.DivideError);
            return false;
        });
        Assert.InRange(faults, 100, 100_000);
    }

    private static bool UsesRdx(in Instruction instruction) =>
        Full(instruction.MemoryBase) == Register.RDX || Full(instruction.MemoryIndex) == Register.RDX || Full(instruction.Op0Register) == Register.RDX;

    private static Register Full(Register register) => register == Register.None ? register : register.GetFullRegister();

    private static bool Overflows(TestCase test)
    {
        int width = test.OperandWidth;
        ulong divisor = test.Operand(0);
        ulong rax = test.Registers.Gpr[0];
        ulong rdx = test.Registers.Gpr[2];
        (ulong low, ulong high) = width switch
        {
            8 => (rax & 0xFF, (rax >> 8) & 0xFF),
            16 => (rax & 0xFFFF, rdx & 0xFFFF),
            32 => ((uint)rax, (uint)rdx),
            _ => (rax, rdx),
        };
        UInt128 dividend = ((UInt128)high << width) | low;
        if (divisor == 0)
            return true;
        if (test.Instruction.Mnemonic == Mnemonic.Div)
            return dividend / divisor >> width != 0;
        int unused = 128 - (2 * width);
        Int128 signed = (Int128)(dividend << unused) >> unused;
        Int128 signedDivisor = (Int128)((UInt128)divisor << (128 - width)) >> (128 - width);
        if (signed == Int128.MinValue && signedDivisor == -1)
            return true;
        Int128 quotient = signed / signedDivisor;
        Int128 limit = Int128.One << (width - 1);
        return quotient >= limit || quotient < -limit;
    }
}
