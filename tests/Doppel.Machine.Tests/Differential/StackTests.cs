using Doppel.Machine.Cpu;
using Iced.Intel;
using Xunit.Abstractions;

namespace Doppel.Machine.Tests.Differential;

public sealed class StackTests(ITestOutputHelper output)
{
    [Fact]
    public void Pushes_and_pops_match_the_host()
    {
        using var runner = new DifferentialRunner(output);
        runner.Check(16000, ["50 +r", "58 +r", "6A ib", "68 iz", "FF /6", "8F /0"], PlaceStack);
    }

    [Fact]
    public void Pushed_and_popped_flags_match_the_host()
    {
        using var runner = new DifferentialRunner(output);
        runner.Check(6000, ["9C", "9D"], test =>
        {
            if (!PlaceStack(test))
                return false;
            const ulong Loadable = CpuFlags.Status | CpuFlags.Df | CpuFlags.Nt | CpuFlags.Id | CpuFlags.If | CpuFlags.Iopl;
            int offset = (int)(test.Registers.Gpr[4] - test.Oracle.Address) - TestCase.WindowStart;
            ulong image = (ulong)test.Random.NextInt64() & Loadable;
            _ = BitConverter.TryWriteBytes(test.Window.AsSpan(offset), image);
            return true;
        });
    }

    [Fact]
    public void Stack_frames_match_the_host()
    {
        using var runner = new DifferentialRunner(output);
        runner.Check(4000, ["C9"], PlaceFrame);
        var random = new Random(1);
        for (int i = 0; i < 4000; i++)
        {
            int size = random.Next(3) == 0 ? 0 : random.Next(0x200);
            byte level = (byte)(random.Next(2) == 0 ? random.Next(2) : random.Next(256));
            byte[] code = [0xC8, (byte)size, (byte)(size >> 8), level];
            runner.CheckCode(random.Next(3) == 0 ? [0x66, .. code] : code, PlaceFrame);
        }

        static bool PlaceFrame(TestCase test)
        {
            test.Registers.Gpr[4] = test.RandomTarget;
            test.Registers.Gpr[5] = test.RandomTarget;
            return true;
        }
    }

    // An operand relative to RSP was placed with RSP; anything else gets a stack of its own.
    private static bool PlaceStack(TestCase test)
    {
        if (test.Instruction.MemoryBase == Register.RSP)
        {
            ulong offset = test.Registers.Gpr[4] - test.Oracle.Address - TestCase.WindowStart;
            return offset is >= 0x100 and < TestCase.WindowSize - 0x100;
        }

        test.Registers.Gpr[4] = test.RandomTarget;
        return true;
    }
}
