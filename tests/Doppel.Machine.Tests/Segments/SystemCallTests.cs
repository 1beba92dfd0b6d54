using Doppel.Machine.Cpu;
using Doppel.Machine.Cpu.Segments;

namespace Doppel.Machine.Tests.Segments;

public sealed unsafe class SystemCallTests
{
    private const ulong NonCanonical = 0x8000_0000_0000;

    [Fact]
    public void SyscallSavesRflagsWithoutRfAndMasksByFmask()
    {
        using SegmentGuest g = Long(3);
        g.State->Flags = CpuFlags.Fixed | CpuFlags.If | CpuFlags.Tf | CpuFlags.Rf | CpuFlags.Cf;
        g.State->SyscallMask = CpuFlags.If | CpuFlags.Tf;
        g.State->Rip = 0x1234;
        SystemCalls.Syscall(g.Cpu);
        Assert.Equal((0x1234UL, 0xFFFF_8000_0000_1000UL), (g.State->Gpr[1], g.State->Rip));
        Assert.Equal(CpuFlags.Fixed | CpuFlags.If | CpuFlags.Tf | CpuFlags.Cf, g.State->Gpr[11]);
        Assert.Equal(CpuFlags.Fixed | CpuFlags.Cf, g.State->Flags);
        Assert.Equal((0, 0x10, 0x18), (g.State->Cpl, g.State->Cs.Selector, g.State->Ss.Selector));
        Assert.True(g.State->Is64Bit);
        Assert.Equal((0UL, uint.MaxValue, 0), (g.State->Ss.Base, g.State->Ss.Limit, g.State->Ss.Dpl));
    }

    [Theory]
    [InlineData(8, 0x33, true)]
    [InlineData(4, 0x23, false)]
    public void SysretSelectsByOperandSizeAndForcesRpl3(int operandSize, int selector, bool is64)
    {
        using SegmentGuest g = Long(0);
        g.State->Gpr[1] = 0x1_0000_2000;
        g.State->Gpr[11] = CpuFlags.All;
        SystemCalls.Sysret(g.Cpu, operandSize);
        Assert.Equal((3, selector, 0x2B), (g.State->Cpl, g.State->Cs.Selector, g.State->Ss.Selector));
        Assert.Equal((is64, 3, 3), (g.State->Is64Bit, g.State->Cs.Dpl, g.State->Ss.Dpl));
        Assert.Equal(is64 ? 0x1_0000_2000UL : 0x2000UL, g.State->Rip);
        Assert.Equal((CpuFlags.All & ~(CpuFlags.Rf | CpuFlags.Vm)) | CpuFlags.Fixed, g.State->Flags);
    }

    [Fact]
    public void SysretToANonCanonicalAddressFaultsInRing0OnIntel()
    {
        using SegmentGuest g = Long(0);
        g.State->Gpr[1] = NonCanonical;
        g.ExpectFault(ExceptionVector.GeneralProtection, 0, () => SystemCalls.Sysret(g.Cpu, 8));
    }

    [Fact]
    public void SysretToANonCanonicalAddressArrivesInRing3OnAmd()
    {
        using SegmentGuest g = Long(0, isAmd: true);
        g.State->Gpr[1] = NonCanonical;
        SystemCalls.Sysret(g.Cpu, 8);
        Assert.Equal((3, NonCanonical), (g.State->Cpl, g.State->Rip));
    }

    [Fact]
    public void SyscallIsInvalidWithoutSceAndOutside64BitModeOnIntel()
    {
        using SegmentGuest g = Long(3);
        g.State->Efer &= ~Efer.Sce;
        g.ExpectFault(ExceptionVector.InvalidOpcode, 0, () => SystemCalls.Syscall(g.Cpu));
        g.State->Efer |= Efer.Sce;
        FarTransfers.Jump(g.Cpu, SegmentGuest.UserCode32, 0, 4);
        g.ExpectFault(ExceptionVector.InvalidOpcode, 0, () => SystemCalls.Syscall(g.Cpu));
        g.EnterLong(3);
        g.ExpectFault(ExceptionVector.GeneralProtection, 0, () => SystemCalls.Sysret(g.Cpu, 8));
    }

    [Fact]
    public void SyscallFromCompatibilityModeUsesCstarOnAmd()
    {
        using SegmentGuest g = Long(3, isAmd: true);
        g.State->Cstar = 0xFFFF_8000_0000_2000;
        FarTransfers.Jump(g.Cpu, SegmentGuest.UserCode32, 0x100, 4);
        SystemCalls.Syscall(g.Cpu);
        Assert.Equal((0xFFFF_8000_0000_2000UL, true, 0x100UL), (g.State->Rip, g.State->Is64Bit, g.State->Gpr[1]));
    }

    [Fact]
    public void SysenterAndSysexitUseTheirMsrs()
    {
        using SegmentGuest g = Long(3);
        g.State->SysenterCs = 0x13;
        g.State->SysenterEsp = 0xFFFF_8000_0000_3000;
        g.State->SysenterEip = 0xFFFF_8000_0000_4000;
        g.State->Flags = CpuFlags.Fixed | CpuFlags.If;
        SystemCalls.Sysenter(g.Cpu);
        Assert.Equal((0, 0x10, 0x18), (g.State->Cpl, g.State->Cs.Selector, g.State->Ss.Selector));
        Assert.Equal((0xFFFF_8000_0000_4000UL, 0xFFFF_8000_0000_3000UL), (g.State->Rip, g.Rsp));
        Assert.Equal(CpuFlags.Fixed, g.State->Flags);
        g.State->Gpr[1] = 0x1_0000_5000;
        g.State->Gpr[2] = 0x1_0000_6000;
        SystemCalls.Sysexit(g.Cpu, 8);
        Assert.Equal((3, 0x33, 0x3B, true), (g.State->Cpl, g.State->Cs.Selector, g.State->Ss.Selector, g.State->Is64Bit));
        Assert.Equal((0x1_0000_6000UL, 0x1_0000_5000UL), (g.State->Rip, g.Rsp));
        SystemCalls.Sysenter(g.Cpu);
        g.State->Gpr[1] = NonCanonical;
        g.ExpectFault(ExceptionVector.GeneralProtection, 0, () => SystemCalls.Sysexit(g.Cpu, 8));
        SystemCalls.Sysexit(g.Cpu, 4);
        Assert.Equal((0x23, 0x2B, false, 0UL), (g.State->Cs.Selector, g.State->Ss.Selector, g.State->Is64Bit, g.Rsp));
    }

    [Fact]
    public void SysenterWithoutItsMsrOrOnAmdInLongModeFaults()
    {
        using SegmentGuest g = Long(3);
        g.State->SysenterCs = 3;
        g.ExpectFault(ExceptionVector.GeneralProtection, 0, () => SystemCalls.Sysenter(g.Cpu));
        g.State->SysenterCs = 0x10;
        g.ExpectFault(ExceptionVector.GeneralProtection, 0, () => SystemCalls.Sysexit(g.Cpu, 8));
        using SegmentGuest amd = Long(3, isAmd: true);
        amd.State->SysenterCs = 0x10;
        amd.ExpectFault(ExceptionVector.InvalidOpcode, 0, () => SystemCalls.Sysenter(amd.Cpu));
    }

    [Fact]
    public void SwapGsExchangesTheBasesInRing0Of64BitModeOnly()
    {
        using SegmentGuest g = Long(0);
        g.State->Gs.Base = 1;
        g.State->KernelGsBase = 2;
        SystemCalls.SwapGs(g.Cpu);
        Assert.Equal((2UL, 1UL), (g.State->Gs.Base, g.State->KernelGsBase));
        FarTransfers.Jump(g.Cpu, SegmentGuest.Code32, 0, 4);
        g.ExpectFault(ExceptionVector.InvalidOpcode, 0, () => SystemCalls.SwapGs(g.Cpu));
        g.EnterLong(3);
        g.ExpectFault(ExceptionVector.GeneralProtection, 0, () => SystemCalls.SwapGs(g.Cpu));
    }

    private static SegmentGuest Long(int level, bool isAmd = false)
    {
        var g = new SegmentGuest(isAmd);
        g.EnterLong(level);
        g.State->Star = (0x23UL << 48) | (0x10UL << 32);
        g.State->Lstar = 0xFFFF_8000_0000_1000;
        return g;
    }
}
