using Doppel.Machine.Cpu;

namespace Doppel.Machine.Tests.Differential;

public sealed class HostOracleTests
{
    [Fact]
    public void Registers_flags_memory_and_branches_go_in_and_out()
    {
        using var oracle = new HostOracle();
        var registers = default(OracleRegisters);
        for (int i = 0; i < 16; i++)
            registers.Gpr[i] = (ulong)(0x1000 + i);
        registers.Gpr[4] = oracle.Address + 0x8000;
        registers.Flags = CpuFlags.Fixed | CpuFlags.If | CpuFlags.Cf | CpuFlags.Df;
        oracle.Run([0x48, 0x11, 0xF8], ref registers);
        Assert.Equal(0x2008UL, registers.Gpr[0]);
        Assert.Equal(CpuFlags.Fixed | CpuFlags.If | CpuFlags.Df, registers.Flags & ~CpuFlags.Pf);
        oracle.Run([0x41, 0x57], ref registers);
        Assert.Equal(oracle.Address + 0x7FF8, registers.Gpr[4]);
        Assert.Equal(0x100FUL, BitConverter.ToUInt64(oracle.Memory[0x7FF8..]));
        registers.Flags = CpuFlags.Fixed | CpuFlags.Cf;
        oracle.Run([0x72, HostOracle.BranchDistance], ref registers);
        Assert.Equal(1UL, registers.Taken & 1);
        Assert.Equal(0x2008UL, registers.Gpr[0]);
        oracle.Run([0x73, HostOracle.BranchDistance], ref registers);
        Assert.Equal(0UL, registers.Taken & 1);
        for (int i = 5; i < 16; i++)
            Assert.Equal((ulong)(0x1000 + i), registers.Gpr[i]);
    }
}
