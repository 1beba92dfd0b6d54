using Doppel.Machine.Cpu;
using Doppel.Machine.Cpu.System;

namespace Doppel.Machine.Tests.System;

public sealed unsafe class DebugRegisterTests
{
    [Fact]
    public void Debug_registers_belong_to_ring_0()
    {
        using TestCpu test = new TestCpu().InLongMode(cpl: 3);
        FaultRecord.AssertGeneralProtection(() => DebugRegisters.Read(test.Cpu, 0));
        FaultRecord.AssertGeneralProtection(() => DebugRegisters.Write(test.Cpu, 7, 0));
    }

    [Fact]
    public void Dr4_and_dr5_are_dr6_and_dr7_unless_cr4_de_is_set()
    {
        using TestCpu test = new TestCpu().InLongMode();
        DebugRegisters.Write(test.Cpu, 4, 0xF);
        Assert.Equal(0xFFFF0FFFUL, DebugRegisters.Read(test.Cpu, 6));
        DebugRegisters.Write(test.Cpu, 5, 0x2);
        Assert.Equal(0x402UL, DebugRegisters.Read(test.Cpu, 5));
        test.State->Cr4 |= Cr4.De;
        FaultRecord.AssertInvalidOpcode(() => DebugRegisters.Read(test.Cpu, 4));
        FaultRecord.AssertInvalidOpcode(() => DebugRegisters.Write(test.Cpu, 5, 0));
    }

    [Fact]
    public void Dr6_and_dr7_have_fixed_bits_and_32_of_them()
    {
        using TestCpu test = new TestCpu().InLongMode();
        DebugRegisters.Write(test.Cpu, 6, 0xFFFFFFFF);
        Assert.Equal(0xFFFFEFFFUL, DebugRegisters.Read(test.Cpu, 6));
        DebugRegisters.Write(test.Cpu, 6, 0);
        Assert.Equal(0xFFFF0FF0UL, DebugRegisters.Read(test.Cpu, 6));
        DebugRegisters.Write(test.Cpu, 7, 0xFFFFDFFF);
        Assert.Equal(0xFFFF07FFUL, DebugRegisters.Read(test.Cpu, 7));
        DebugRegisters.Write(test.Cpu, 7, 0);
        Assert.Equal(0x400UL, DebugRegisters.Read(test.Cpu, 7));
        FaultRecord.AssertGeneralProtection(() => DebugRegisters.Write(test.Cpu, 6, 1UL << 32));
        FaultRecord.AssertGeneralProtection(() => DebugRegisters.Write(test.Cpu, 7, 1UL << 32));
        DebugRegisters.Write(test.Cpu, 3, 0xFFFF800000000000);
        Assert.Equal(0xFFFF800000000000, DebugRegisters.Read(test.Cpu, 3));
    }

    [Fact]
    public void General_detect_faults_with_bd_on_any_access()
    {
        using TestCpu test = new TestCpu().InLongMode();
        DebugRegisters.Write(test.Cpu, 7, DebugRegisters.Gd);
        FaultRecord expected = new(ExceptionVector.Debug, 0, 0, DebugRegisters.Bd, false);
        Assert.Equal(expected, FaultRecord.Of(() => DebugRegisters.Read(test.Cpu, 0)));
        Assert.Equal(expected, FaultRecord.Of(() => DebugRegisters.Write(test.Cpu, 7, 0)));
    }

    [Fact]
    public void Instruction_breakpoints_match_their_address_only()
    {
        using TestCpu test = new TestCpu().InLongMode();
        DebugRegisters.Write(test.Cpu, 1, 0x123456);
        Assert.False(DebugRegisters.HasActiveBreakpoints(test.Cpu));
        Assert.Equal(0UL, DebugRegisters.MatchInstruction(test.Cpu, 0x123456));
        DebugRegisters.Write(test.Cpu, 7, 1 << 2);
        Assert.True(DebugRegisters.HasActiveBreakpoints(test.Cpu));
        Assert.Equal(2UL, DebugRegisters.MatchInstruction(test.Cpu, 0x123456));
        Assert.Equal(0UL, DebugRegisters.MatchInstruction(test.Cpu, 0x123457));
        Assert.Equal(0UL, DebugRegisters.MatchInstruction(test.Cpu, 0x100123456));
        Assert.Equal(0UL, DebugRegisters.MatchData(test.Cpu, 0x123456, 1, write: true));
    }

    [Theory]
    [InlineData(0, 0x1000UL, 0x1000UL, 1, true)]
    [InlineData(0, 0x1000UL, 0x0FFFUL, 1, false)]
    [InlineData(0, 0x1000UL, 0x0FFFUL, 2, true)]
    [InlineData(0, 0x1000UL, 0x1001UL, 8, false)]
    [InlineData(1, 0x1001UL, 0x1000UL, 1, true)] // The address is aligned down.
    [InlineData(3, 0x1000UL, 0x1003UL, 1, true)]
    [InlineData(3, 0x1000UL, 0x1004UL, 1, false)]
    [InlineData(2, 0x1000UL, 0x1007UL, 1, true)]
    [InlineData(2, 0x1000UL, 0x0FF8UL, 8, false)]
    [InlineData(2, 0x1000UL, 0x0FF9UL, 8, true)]
    public void Data_breakpoints_match_what_overlaps_them(int length, ulong breakpoint, ulong address, int size, bool matches)
    {
        using TestCpu test = new TestCpu().InLongMode();
        DebugRegisters.Write(test.Cpu, 2, breakpoint);
        ulong expected = matches ? 4UL : 0;

        DebugRegisters.Write(test.Cpu, 7, (2UL << 4) | (1UL << 24) | ((ulong)length << 26));
        Assert.Equal(expected, DebugRegisters.MatchData(test.Cpu, address, size, write: true));
        Assert.Equal(0UL, DebugRegisters.MatchData(test.Cpu, address, size, write: false));

        DebugRegisters.Write(test.Cpu, 7, (2UL << 4) | (3UL << 24) | ((ulong)length << 26));
        Assert.Equal(expected, DebugRegisters.MatchData(test.Cpu, address, size, write: true));
        Assert.Equal(expected, DebugRegisters.MatchData(test.Cpu, address, size, write: false));
    }

    [Fact]
    public void Io_breakpoints_need_cr4_de()
    {
        using TestCpu test = new TestCpu().InLongMode();
        DebugRegisters.Write(test.Cpu, 0, 0x3F8);
        DebugRegisters.Write(test.Cpu, 7, 1 | (2UL << 16) | (1UL << 18));
        Assert.Equal(0UL, DebugRegisters.MatchIo(test.Cpu, 0x3F8, 1));
        test.State->Cr4 |= Cr4.De;
        Assert.Equal(1UL, DebugRegisters.MatchIo(test.Cpu, 0x3F9, 1));
        Assert.Equal(1UL, DebugRegisters.MatchIo(test.Cpu, 0x3F6, 4));
        Assert.Equal(0UL, DebugRegisters.MatchIo(test.Cpu, 0x3FA, 1));
    }
}
