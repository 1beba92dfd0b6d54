using Doppel.Machine.Cpu;
using Doppel.Machine.Cpu.Segments;

namespace Doppel.Machine.Tests.Segments;

public sealed unsafe class InterruptReturnTests : IDisposable
{
    private readonly SegmentGuest _g = new();

    public void Dispose() => _g.Dispose();

    [Fact]
    public void RealModeReturnLoadsAllSixteenFlagBits()
    {
        _g.EnterReal();
        _g.PushFrame(2, 0x1234, 0x3000, 0x7202);
        InterruptReturn.Execute(_g.Cpu, 2);
        Assert.Equal((0x30000UL, 0x1234UL, 0x1000UL), (_g.State->Cs.Base, _g.State->Rip, _g.Rsp));
        Assert.Equal(0x7202UL, _g.State->Flags);
    }

    [Fact]
    public void RealModeReturnOf32BitsFaultsBeyondTheLimitAndKeepsVm()
    {
        _g.EnterReal();
        _g.PushFrame(4, 0x10000, 0, 2);
        _g.ExpectFault(ExceptionVector.GeneralProtection, 0, () => InterruptReturn.Execute(_g.Cpu, 4));
        _g.Rsp = 0x1000;
        _g.PushFrame(4, 0x10, 0, CpuFlags.Vm | CpuFlags.Vif | CpuFlags.Id | CpuFlags.Fixed);
        InterruptReturn.Execute(_g.Cpu, 4);
        Assert.Equal(CpuFlags.Id | CpuFlags.Fixed, _g.State->Flags);
    }

    [Fact]
    public void ReturnAtTheSamePrivilegeLoadsFlagsAndRf()
    {
        _g.EnterProtected();
        _g.PushFrame(4, 0x1234, SegmentGuest.Code32, CpuFlags.Rf | CpuFlags.If | CpuFlags.Iopl | CpuFlags.Cf | CpuFlags.Fixed);
        InterruptReturn.Execute(_g.Cpu, 4);
        Assert.Equal((0x1234UL, SegmentGuest.Stack), (_g.State->Rip, _g.Rsp));
        Assert.Equal(CpuFlags.Rf | CpuFlags.If | CpuFlags.Iopl | CpuFlags.Cf | CpuFlags.Fixed, _g.State->Flags);
    }

    [Fact]
    public void AboveIoplIretLeavesIoplAndIfAloneWithoutAFault()
    {
        _g.EnterProtected(3);
        _g.State->Flags = CpuFlags.Fixed | CpuFlags.If | (1UL << 12);
        _g.PushFrame(4, 0x1234, SegmentGuest.UserCode32, CpuFlags.Iopl | CpuFlags.Vif | CpuFlags.Vip | CpuFlags.Vm | CpuFlags.Zf);
        InterruptReturn.Execute(_g.Cpu, 4);
        Assert.Equal(CpuFlags.Fixed | CpuFlags.If | (1UL << 12) | CpuFlags.Zf, _g.State->Flags);
    }

    [Fact]
    public void ReturnToAnOuterRingNullsDataSegmentsOfInnerDpl()
    {
        _g.EnterProtected();
        SegmentLoader.Load(_g.Cpu, Segment.Gs, SegmentGuest.UserData32);
        _g.PushFrame(4, 0x1234, SegmentGuest.UserCode32, 0x202, 0x9000, SegmentGuest.UserData32);
        InterruptReturn.Execute(_g.Cpu, 4);
        Assert.Equal((3, 0x9000UL, 0x1234UL), (_g.State->Cpl, _g.Rsp, _g.State->Rip));
        Assert.False(_g.State->Ds.IsUsable);
        Assert.False(_g.State->Es.IsUsable);
        Assert.False(_g.State->Fs.IsUsable);
        Assert.True(_g.State->Gs.IsUsable);
    }

    [Fact]
    public void ANulledSegmentKeepsTheBaseThatAnMsrGaveIt()
    {
        _g.EnterLong();
        _g.State->Gs.Base = 0x400000;
        _g.PushFrame(8, 0x1234, SegmentGuest.UserCode64, 0x202, 0x9000, SegmentGuest.UserData32);
        InterruptReturn.Execute(_g.Cpu, 8);
        Assert.Equal((3, (ushort)0, false), (_g.State->Cpl, _g.State->Gs.Selector, _g.State->Gs.IsUsable));
        Assert.Equal(0x400000UL, _g.State->Gs.Base);
    }

    [Fact]
    public void ReturnToA16BitStackLeavesTheUpperHalfOfEsp()
    {
        _g.EnterProtected();
        _g.Rsp = 0x00120000;
        _g.PushFrame(4, 0x1234, SegmentGuest.UserCode32, 0x202, 0x00005678, SegmentGuest.UserData16);
        InterruptReturn.Execute(_g.Cpu, 4);
        Assert.Equal(0x00115678UL, _g.Rsp);
    }

    [Fact]
    public void A16BitStackIsPoppedThroughSpAlone()
    {
        _g.EnterProtected();
        SegmentLoader.Load(_g.Cpu, Segment.Ss, SegmentGuest.Data16);
        _g.Rsp = 0x8000;
        _g.PushFrame(2, 0x1234, SegmentGuest.Code32, 2);
        _g.Rsp |= 0xABCD0000;
        InterruptReturn.Execute(_g.Cpu, 2);
        Assert.Equal(0xABCD8000UL, _g.Rsp);
    }

    [Theory]
    [InlineData(0, 0)]
    [InlineData(SegmentGuest.UserData32, SegmentGuest.UserData32 & 0xFFFC)]
    [InlineData(SegmentGuest.Code32 | 1, SegmentGuest.Code32)]
    [InlineData(0x1F8, 0x1F8)]
    public void AnIllegalReturnSelectorFaults(int selector, int code)
    {
        _g.EnterProtected();
        _g.PushFrame(4, 0x1234, (ulong)selector, 2, 0x9000, SegmentGuest.UserData32);
        _g.ExpectFault(ExceptionVector.GeneralProtection, (uint)code, () => InterruptReturn.Execute(_g.Cpu, 4));
    }

    [Theory]
    [InlineData(0, ExceptionVector.GeneralProtection, 0)]
    [InlineData(SegmentGuest.Data32, ExceptionVector.GeneralProtection, SegmentGuest.Data32)]
    [InlineData(SegmentGuest.ReadOnlyUserData, ExceptionVector.GeneralProtection, SegmentGuest.ReadOnlyUserData & 0xFFFC)]
    public void AnIllegalReturnStackFaults(int selector, ExceptionVector vector, int code)
    {
        _g.EnterProtected();
        _g.PushFrame(4, 0x1234, SegmentGuest.UserCode32, 2, 0x9000, (ulong)selector);
        _g.ExpectFault(vector, (uint)code, () => InterruptReturn.Execute(_g.Cpu, 4));
    }

    [Fact]
    public void ReturnToVirtual8086ModeLoadsEverySegment()
    {
        _g.EnterProtected();
        _g.PushFrame(4, 0x1234, 0x1000, CpuFlags.Vm | CpuFlags.Iopl | CpuFlags.Vif | CpuFlags.Fixed, 0x8765, 0x2000, 0x3000, 0x4000, 0x5000, 0x6000);
        InterruptReturn.Execute(_g.Cpu, 4);
        Assert.True(_g.State->IsVirtual8086);
        Assert.Equal((3, 0x1234UL, 0x8765UL), (_g.State->Cpl, _g.State->Rip, _g.Rsp));
        Assert.Equal((0x10000UL, 0x20000UL, 0x30000UL), (_g.State->Cs.Base, _g.State->Ss.Base, _g.State->Es.Base));
        Assert.Equal((0x40000UL, 0x50000UL, 0x60000UL), (_g.State->Ds.Base, _g.State->Fs.Base, _g.State->Gs.Base));
        Assert.Equal((0xFFFFu, 3), (_g.State->Gs.Limit, _g.State->Gs.Dpl));
        Assert.Equal(CpuFlags.Vm | CpuFlags.Iopl | CpuFlags.Vif | CpuFlags.Fixed, _g.State->Flags);
    }

    [Fact]
    public void Virtual8086ReturnNeedsIopl3OrVme()
    {
        _g.EnterVirtual(iopl: 0);
        _g.PushFrame(2, 0x1234, 0x1000, 0);
        _g.ExpectFault(ExceptionVector.GeneralProtection, 0, () => InterruptReturn.Execute(_g.Cpu, 2));
        _g.EnterVirtual(iopl: 3);
        _g.PushFrame(2, 0x1234, 0x1000, 0x0001);
        InterruptReturn.Execute(_g.Cpu, 2);
        Assert.Equal(CpuFlags.Fixed | CpuFlags.Vm | CpuFlags.Iopl | CpuFlags.Cf, _g.State->Flags);
        Assert.Equal((0x10000UL, 0x1234UL), (_g.State->Cs.Base, _g.State->Rip));
    }

    [Fact]
    public void UnderVmeAVirtualReturnMovesIfToVif()
    {
        _g.EnterVirtual(iopl: 0);
        _g.State->Cr4 |= Cr4.Vme;
        _g.PushFrame(2, 0x1234, 0x1000, CpuFlags.If | CpuFlags.Iopl);
        InterruptReturn.Execute(_g.Cpu, 2);
        Assert.Equal(CpuFlags.Fixed | CpuFlags.Vm | CpuFlags.If | CpuFlags.Vif, _g.State->Flags);
        _g.State->Flags |= CpuFlags.Vip;
        _g.PushFrame(2, 0x1234, 0x1000, CpuFlags.If);
        _g.ExpectFault(ExceptionVector.GeneralProtection, 0, () => InterruptReturn.Execute(_g.Cpu, 2));
        _g.PushFrame(2, 0x1234, 0x1000, CpuFlags.Tf);
        _g.ExpectFault(ExceptionVector.GeneralProtection, 0, () => InterruptReturn.Execute(_g.Cpu, 2));
    }

    [Fact]
    public void NestedTaskReturnInLongModeIsAGeneralProtectionFault()
    {
        _g.EnterLong();
        _g.State->Flags |= CpuFlags.Nt;
        _g.PushFrame(8, 0x1234, SegmentGuest.Code64, 2, SegmentGuest.Stack, 0);
        _g.ExpectFault(ExceptionVector.GeneralProtection, 0, () => InterruptReturn.Execute(_g.Cpu, 8));
    }

    [Fact]
    public void IretqPopsTheStackAlsoAtTheSamePrivilege()
    {
        _g.EnterLong();
        _g.PushFrame(8, 0x1234, SegmentGuest.Code64, 2, 0xABCDE0, 0);
        InterruptReturn.Execute(_g.Cpu, 8);
        Assert.Equal((0x1234UL, 0xABCDE0UL), (_g.State->Rip, _g.Rsp));
        Assert.False(_g.State->Ss.IsUsable);
        Assert.Equal(0, _g.State->Ss.Dpl);
    }

    [Fact]
    public void IretqToUserModeLoadsEverything()
    {
        _g.EnterLong();
        _g.State->Fs = new SegmentRegister { Base = 0x7000_1234_5678, Attributes = SegmentAttributes.Unusable };
        _g.PushFrame(8, 0x7FFF_FFFF_F000, SegmentGuest.UserCode64, CpuFlags.If | CpuFlags.Ac | CpuFlags.Rf, 0x7FFF_0000, SegmentGuest.UserData32);
        InterruptReturn.Execute(_g.Cpu, 8);
        Assert.Equal((3, 0x7FFF_FFFF_F000UL, 0x7FFF_0000UL), (_g.State->Cpl, _g.State->Rip, _g.Rsp));
        Assert.Equal(CpuFlags.Fixed | CpuFlags.If | CpuFlags.Ac | CpuFlags.Rf, _g.State->Flags);
        Assert.Equal(0x7000_1234_5678UL, _g.State->Fs.Base);
        Assert.False(_g.State->Ds.IsUsable);
    }

    [Fact]
    public void IretqToCompatibilityModeCutsRsp()
    {
        _g.EnterLong();
        _g.PushFrame(8, 0x1234, SegmentGuest.UserCode32, 0x202, 0x1_2345_6789, SegmentGuest.UserData32);
        InterruptReturn.Execute(_g.Cpu, 8);
        Assert.Equal((false, 0x2345_6789UL), (_g.State->Is64Bit, _g.Rsp));
    }

    [Fact]
    public void IretqRefusesANonCanonicalTargetAndANullUserStack()
    {
        _g.EnterLong();
        _g.PushFrame(8, 0x8000_0000_0000, SegmentGuest.UserCode64, 2, 0x9000, SegmentGuest.UserData32);
        _g.ExpectFault(ExceptionVector.GeneralProtection, 0, () => InterruptReturn.Execute(_g.Cpu, 8));
        _g.PushFrame(8, 0x1000, SegmentGuest.UserCode64, 2, 0x9000, 0);
        _g.ExpectFault(ExceptionVector.GeneralProtection, 0, () => InterruptReturn.Execute(_g.Cpu, 8));
    }

    [Fact]
    public void IretFromANonCanonicalStackIsAStackFault()
    {
        _g.EnterLong();
        _g.Rsp = 0x8000_0000_0000;
        _g.ExpectFault(ExceptionVector.StackFault, 0, () => InterruptReturn.Execute(_g.Cpu, 8));
    }

    [Fact]
    public void IretUnblocksNmisEvenWhenItFaults()
    {
        _g.EnterLong();
        _g.State->Shadow = InterruptShadow.NmiBlocked;
        _g.PushFrame(8, 0x1234, 0, 2, 0x9000, 0);
        Assert.Equal((ExceptionVector.GeneralProtection, 0u), SegmentGuest.Catch(() => InterruptReturn.Execute(_g.Cpu, 8)));
        Assert.Equal(InterruptShadow.None, _g.State->Shadow);
    }
}
