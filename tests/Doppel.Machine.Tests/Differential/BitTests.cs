using Iced.Intel;
using Xunit.Abstractions;

namespace Doppel.Machine.Tests.Differential;

public sealed class BitTests(ITestOutputHelper output)
{
    [Fact]
    public void Bit_tests_match_the_host_also_far_from_the_operand()
    {
        using var runner = new DifferentialRunner(output);
        runner.Check(20000,
            ["0F A3 /r", "0F AB /r lock", "0F B3 /r lock", "0F BB /r lock", "0F BA /4 ib", "0F BA /5 ib lock", "0F BA /6 ib lock", "0F BA /7 ib lock"],
            test =>
            {
                Instruction instruction = test.Instruction;
                if (instruction.Op0Kind != OpKind.Memory || instruction.Op1Kind != OpKind.Register)
                    return true;
                // The bit offset is signed and reaches beyond the operand: keep it within the window's margin.
                Register offset = instruction.Op1Register;
                if (Same(offset, instruction.MemoryBase) || Same(offset, instruction.MemoryIndex))
                    return false;
                long bits = test.Random.Next(-7000, 7000);
                test[offset] = instruction.Op1Register.GetSize() switch
                {
                    2 => (test[offset] & ~0xFFFFUL) | (ushort)bits,
                    4 => (test[offset] & ~0xFFFFFFFFUL) | (uint)bits,
                    _ => (ulong)bits,
                };
                return true;
            });
    }

    [Fact]
    public void Bit_scans_match_the_host_and_leave_the_destination_for_zero()
    {
        using var runner = new DifferentialRunner(output);
        runner.Check(12000, ["0F BC /r", "0F BD /r"]);
    }

    [Fact]
    public void Counts_and_byte_orders_match_the_host()
    {
        using var runner = new DifferentialRunner(output);
        runner.Check(12000, ["F3 0F B8 /r", "F3 0F BC /r", "F3 0F BD /r", "0F C8 +r no66", "0F 38 F0 /r mem", "0F 38 F1 /r mem"]);
    }

    private static bool Same(Register a, Register b) => b != Register.None && a.GetFullRegister() == b.GetFullRegister();
}
