using Doppel.Machine.Cpu;
using Iced.Intel;
using Xunit.Abstractions;

namespace Doppel.Machine.Tests.Differential;

public sealed class MoveTests(ITestOutputHelper output)
{
    [Fact]
    public void Moves_match_the_host()
    {
        using var runner = new DifferentialRunner(output);
        runner.Check(20000, ["88 /r", "89 /r", "8A /r", "8B /r", "B0 +r ib", "B8 +r iv", "C6 /0 ib", "C7 /0 iz"]);
    }

    [Fact]
    public void Extensions_match_the_host()
    {
        using var runner = new DifferentialRunner(output);
        runner.Check(16000, ["0F B6 /r", "0F B7 /r", "0F BE /r", "0F BF /r", "63 /r", "98", "99"]);
    }

    [Fact]
    public void Exchanges_match_the_host()
    {
        using var runner = new DifferentialRunner(output);
        runner.Check(16000, ["86 /r lock", "87 /r lock", "90 +r", "0F C0 /r lock", "0F C1 /r lock"]);
    }

    [Fact]
    public void Compare_exchanges_match_the_host()
    {
        using var runner = new DifferentialRunner(output);
        runner.Check(16000, ["0F B0 /r lock", "0F B1 /r lock"], test =>
        {
            // Equality must not be an accident.
            if (test.Random.Next(2) == 0)
                test.Registers.Gpr[0] = test.Operand(0) | (test.Registers.Gpr[0] & Beyond(test.OperandWidth));
            return test.Instruction.Op0Kind != OpKind.Memory || Uses(test) || InWindow(test);
        });
    }

    [Fact]
    public void Wide_compare_exchanges_match_the_host()
    {
        using var runner = new DifferentialRunner(output);
        runner.Check(12000, ["0F C7 /1 mem lock no66"], test =>
        {
            if (!test.PlaceMemoryOperand(alignment: 16))
                return false;
            if (test.Random.Next(2) == 0)
            {
                int offset = (int)(test.EffectiveAddress() - test.Oracle.Address) - TestCase.WindowStart;
                bool isWide = test.Instruction.Mnemonic == Mnemonic.Cmpxchg16b;
                test.Registers.Gpr[0] = isWide ? BitConverter.ToUInt64(test.Window, offset) : BitConverter.ToUInt32(test.Window, offset);
                test.Registers.Gpr[2] = isWide ? BitConverter.ToUInt64(test.Window, offset + 8) : BitConverter.ToUInt32(test.Window, offset + 4);
            }

            return InWindow(test) && (test.EffectiveAddress() & 15) == 0;
        });
    }

    [Fact]
    public void A_misaligned_cmpxchg16b_is_refused()
    {
        using var runner = new DifferentialRunner(output);
        int faults = 0;
        runner.Check(1, ["0F C7 /1 mem lock no66 w"], test =>
        {
            bool isMisaligned = InWindow(test) && (test.EffectiveAddress() & 15) != 0;
            if (isMisaligned)
            {
                runner.CheckFault(ExceptionVector.GeneralProtection);
                faults++;
            }

            return faults > 100 && test.PlaceMemoryOperand(alignment: 16) && InWindow(test);
        });
    }

    [Fact]
    public void Table_look_up_matches_the_host()
    {
        using var runner = new DifferentialRunner(output);
        runner.Check(4000, ["D7 no66"], test =>
        {
            test.Registers.Gpr[3] = test.RandomTarget;
            return true;
        });
    }

    private static ulong Beyond(int width) => width == 64 ? 0 : ulong.MaxValue << width;

    private static bool Uses(TestCase test) => test.Instruction.MemoryBase != Register.RAX && test.Instruction.MemoryIndex != Register.RAX;

    private static bool InWindow(TestCase test)
    {
        ulong offset = test.EffectiveAddress() - test.Oracle.Address - TestCase.WindowStart;
        return offset is >= 0x200 and < TestCase.WindowSize - 0x200;
    }
}
