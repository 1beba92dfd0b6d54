using Xunit.Abstractions;

namespace Doppel.Machine.Tests.Differential;

public sealed class AddressingTests(ITestOutputHelper output)
{
    [Fact]
    public void Effective_addresses_of_every_form_match_the_host()
    {
        using var runner = new DifferentialRunner(output);
        runner.Check(20000, ["8D /r mem addr32"], test => !test.Instruction.IsIPRelativeMemoryOperand);
    }

    [Fact]
    public void Every_sib_byte_matches_the_host()
    {
        using var runner = new DifferentialRunner(output);
        for (int rex = 0x48; rex < 0x50; rex++)
        {
            for (int sib = 0; sib < 256; sib++)
            {
                for (int mod = 0; mod < 3; mod++)
                {
                    byte[] displacement = mod switch { 1 => [0x85], 2 => [0x78, 0x56, 0x34, 0xF2], _ => (sib & 7) == 5 ? [0x78, 0x56, 0x34, 0x12] : [] };
                    runner.CheckCode([(byte)rex, 0x8D, (byte)((mod << 6) | 4), (byte)sib, .. displacement]);
                    runner.CheckCode([(byte)rex, 0x8B, (byte)((mod << 6) | 4), (byte)sib, .. displacement]);
                }
            }
        }
    }
}
