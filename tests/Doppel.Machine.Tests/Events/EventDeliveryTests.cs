using Doppel.Machine.Cpu;
using Doppel.Machine.Cpu.Events;
using Doppel.Machine.Cpu.Segments;
using Doppel.Machine.Cpu.System;
using Doppel.Machine.Tests.Segments;

namespace Doppel.Machine.Tests.Events;

public sealed unsafe class EventDeliveryTests : IDisposable
{
    private readonly SegmentGuest _g = new();

    public void Dispose() => _g.Dispose();

    [Fact]
    public void RealModeGoesThroughTheVectorTableWithoutErrorCode()
    {
        _g.EnterReal();
        _g.Write32(13 * 4, 0x3000_0123);
        _g.State->Rip = 0x777;
        _g.State->Flags = CpuFlags.Fixed | CpuFlags.If | CpuFlags.Tf | CpuFlags.Iopl;
        EventDelivery.Deliver(_g.Cpu, _g.Cpu.GeneralProtection(0x50));
        Assert.Equal((0x30000UL, 0x123UL, 0xFFAUL), (_g.State->Cs.Base, _g.State->Rip, _g.Rsp));
        Assert.Equal((0x777, 0, 0x3302), (_g.Read16(0x20FFA), _g.Read16(0x20FFC), _g.Read16(0x20FFE)));
        Assert.Equal(CpuFlags.Fixed | CpuFlags.Iopl, _g.State->Flags);
    }

    [Fact]
    public void RealModeVectorsBeyondTheTableAreGeneralProtectionFaults()
    {
        _g.EnterReal();
        _g.State->Idtr.Limit = 0x7F;
        _g.Write32(13 * 4, 0x3000_0123);
        _g.ExpectFault(ExceptionVector.GeneralProtection, 0, () => EventDelivery.DeliverSoftware(_g.Cpu, 0x20, SoftwareInterruptKind.Int));
        EventDelivery.DeliverInterrupt(_g.Cpu, 0x20);
        Assert.Equal(0x123UL, _g.State->Rip);
    }

    [Fact]
    public void AFaultPushesRfButATrapAnInterruptAnAbortAndAnInstructionBreakpointDoNot()
    {
        _g.EnterLong();
        Handlers(0x8E);
        EventDelivery.Deliver(_g.Cpu, _g.Cpu.InvalidOpcode());
        Assert.Equal(CpuFlags.Fixed | CpuFlags.Rf, _g.Read64(_g.Rsp + 16));
        EventDelivery.Deliver(_g.Cpu, _g.Cpu.DebugException(0x4000, isTrap: true));
        Assert.Equal(CpuFlags.Fixed, _g.Read64(_g.Rsp + 16));
        EventDelivery.Deliver(_g.Cpu, _g.Cpu.DebugException(1, isTrap: false));
        Assert.Equal(CpuFlags.Fixed, _g.Read64(_g.Rsp + 16));
        EventDelivery.Deliver(_g.Cpu, _g.Cpu.DebugException(DebugRegisters.Bd, isTrap: false));
        Assert.Equal(CpuFlags.Fixed | CpuFlags.Rf, _g.Read64(_g.Rsp + 16));
        EventDelivery.Deliver(_g.Cpu, _g.Cpu.Fault(ExceptionVector.DoubleFault));
        Assert.Equal(CpuFlags.Fixed, _g.Read64(_g.Rsp + 24));
        EventDelivery.DeliverInterrupt(_g.Cpu, 0x20);
        Assert.Equal(CpuFlags.Fixed, _g.Read64(_g.Rsp + 16));
        Assert.Equal(0UL, _g.State->Flags & CpuFlags.Rf);
    }

    [Fact]
    public void LongModeAlignsTheStackAndAlwaysPushesIt()
    {
        _g.EnterLong();
        Handlers(0x8E);
        _g.Rsp = SegmentGuest.Stack - 3;
        _g.State->Rip = 0x777;
        EventDelivery.Deliver(_g.Cpu, _g.Cpu.GeneralProtection(0x18));
        Assert.Equal(SegmentGuest.Stack - 16 - 48, _g.Rsp);
        Assert.Equal(0x18UL, _g.Read64(_g.Rsp));
        Assert.Equal(0x777UL, _g.Read64(_g.Rsp + 8));
        Assert.Equal(SegmentGuest.Code64, _g.Read64(_g.Rsp + 16));
        Assert.Equal(SegmentGuest.Stack - 3, _g.Read64(_g.Rsp + 32));
        Assert.Equal(SegmentGuest.Data32, _g.Read64(_g.Rsp + 40));
        Assert.Equal(SegmentGuest.Data32, _g.State->Ss.Selector);
        Assert.Equal(Handler(13), _g.State->Rip);
    }

    [Fact]
    public void LongModeFromUserSwitchesToRsp0WithANullStackSegment()
    {
        _g.EnterLong(3);
        Handlers(0x8E);
        _g.State->Flags = CpuFlags.Fixed | CpuFlags.If | CpuFlags.Ac | CpuFlags.Nt | CpuFlags.Tf;
        EventDelivery.DeliverInterrupt(_g.Cpu, 0x20);
        Assert.Equal((0, SegmentGuest.InnerStack - 40), (_g.State->Cpl, _g.Rsp));
        Assert.Equal((0, false), (_g.State->Ss.Selector, _g.State->Ss.IsUsable));
        Assert.Equal(CpuFlags.Fixed | CpuFlags.Ac, _g.State->Flags);
        Assert.Equal(SegmentGuest.UserData32, _g.Read64(_g.Rsp + 32));
        InterruptReturn.Execute(_g.Cpu, 8);
        Assert.Equal((3, SegmentGuest.Stack), (_g.State->Cpl, _g.Rsp));
        Assert.Equal(CpuFlags.Fixed | CpuFlags.If | CpuFlags.Ac | CpuFlags.Nt | CpuFlags.Tf, _g.State->Flags);
    }

    [Fact]
    public void ATrapGateLeavesInterruptsOn()
    {
        _g.EnterLong();
        Handlers(0x8F);
        _g.State->Flags |= CpuFlags.If;
        EventDelivery.DeliverInterrupt(_g.Cpu, 0x20);
        Assert.Equal(CpuFlags.Fixed | CpuFlags.If, _g.State->Flags);
    }

    [Fact]
    public void AnInterruptStackIsTakenAtTheSamePrivilegeToo()
    {
        _g.EnterLong();
        _g.Write64(SegmentGuest.Tss + 0x24 + 16, 0x38000);
        _g.SetGate(8, SegmentGuest.Code64, 0x4000, 0x8E, ist: 3);
        EventDelivery.Deliver(_g.Cpu, _g.Cpu.Fault(ExceptionVector.DoubleFault));
        Assert.Equal(0x38000UL - 48, _g.Rsp);
        Assert.Equal(SegmentGuest.Data32, _g.State->Ss.Selector);
    }

    [Fact]
    public void PageFaultSetsCr2BeforeTheHandlerAndPushesItsCode()
    {
        _g.EnterLong(3);
        Handlers(0x8E);
        EventDelivery.Deliver(_g.Cpu, _g.Cpu.PageFault(0xFFFF_8000_0000_1234, 6));
        Assert.Equal(0xFFFF_8000_0000_1234UL, _g.State->Cr2);
        Assert.Equal(6UL, _g.Read64(_g.Rsp));
    }

    [Fact]
    public void DebugExceptionsUpdateDr6AndClearGeneralDetect()
    {
        _g.EnterLong();
        Handlers(0x8E);
        _g.State->Dr[6] = 0xFFFF4FF1;
        _g.State->Dr[7] = 0x2400;
        EventDelivery.Deliver(_g.Cpu, _g.Cpu.DebugException(0x2002, isTrap: false));
        Assert.Equal(0xFFFF6FF2UL, _g.State->Dr[6]);
        Assert.Equal(0x400UL, _g.State->Dr[7]);
    }

    [Fact]
    public void DeliveryWakesAHaltedCpuAndEndsShadows()
    {
        _g.EnterLong();
        Handlers(0x8E);
        _g.State->Activity = ActivityState.Halted;
        _g.State->Shadow = InterruptShadow.Sti | InterruptShadow.MovSs;
        EventDelivery.DeliverInterrupt(_g.Cpu, 0x20);
        Assert.Equal((ActivityState.Running, InterruptShadow.None), (_g.State->Activity, _g.State->Shadow));
    }

    [Fact]
    public void AnNmiBlocksFurtherOnesUntilIret()
    {
        _g.EnterLong();
        Handlers(0x8E);
        EventDelivery.DeliverNmi(_g.Cpu);
        Assert.Equal((Handler(2), InterruptShadow.NmiBlocked), (_g.State->Rip, _g.State->Shadow));
        InterruptReturn.Execute(_g.Cpu, 8);
        Assert.Equal(InterruptShadow.None, _g.State->Shadow);
    }

    [Fact]
    public void SoftwareInterruptsCheckTheGatesPrivilegeAndHardwareOnesDoNot()
    {
        _g.EnterLong(3);
        Handlers(0x8E);
        _g.ExpectFault(ExceptionVector.GeneralProtection, (0x80 * 8) + 2, () => EventDelivery.DeliverSoftware(_g.Cpu, 0x80, SoftwareInterruptKind.Int));
        _g.ExpectFault(ExceptionVector.GeneralProtection, (3 * 8) + 2, () => EventDelivery.DeliverSoftware(_g.Cpu, 3, SoftwareInterruptKind.Int3));
        _g.ExpectFault(ExceptionVector.GeneralProtection, (4 * 8) + 2, () => EventDelivery.DeliverSoftware(_g.Cpu, 4, SoftwareInterruptKind.Into));
        EventDelivery.DeliverSoftware(_g.Cpu, 1, SoftwareInterruptKind.Int1);
        Assert.Equal(Handler(1), _g.State->Rip);
        _g.EnterLong(3);
        _g.SetGate(0x80, SegmentGuest.Code64, 0x8000, 0xEE);
        _g.State->Rip = 0x779;
        EventDelivery.DeliverSoftware(_g.Cpu, 0x80, SoftwareInterruptKind.Int);
        Assert.Equal((0x8000UL, 0x779UL, CpuFlags.Fixed), (_g.State->Rip, _g.Read64(_g.Rsp), _g.Read64(_g.Rsp + 16)));
    }

    [Fact]
    public void ANonCanonicalKernelStackIsAStackFault()
    {
        _g.EnterLong(3);
        _g.SetGate(0x80, SegmentGuest.Code64, 0x8000, 0xEE);
        _g.Write64(SegmentGuest.Tss + 4, 0x8000_0000_0000);
        _g.ExpectFault(ExceptionVector.StackFault, 0, () => EventDelivery.DeliverSoftware(_g.Cpu, 0x80, SoftwareInterruptKind.Int));
    }

    [Fact]
    public void PushesToTheInnerStackAreSupervisorAccessesAndRestorePrivilegeOnAFault()
    {
        _g.EnterLong(3);
        _g.SetGate(0x80, SegmentGuest.Code64, 0x8000, 0xEE);
        _g.Write64(SegmentGuest.Tss + 4, SegmentGuest.AbsentPage + 0x800);
        _g.ExpectFault(ExceptionVector.PageFault, 2, () => EventDelivery.DeliverSoftware(_g.Cpu, 0x80, SoftwareInterruptKind.Int));
        Assert.Equal(3, _g.State->Cpl);
    }

    [Fact]
    public void Protected32BitGateSwitchesToTheTssStack()
    {
        _g.EnterProtected(3);
        _g.SetGate(14, SegmentGuest.Code32, 0x89ABC, 0x8E);
        _g.State->Rip = 0x777;
        EventDelivery.Deliver(_g.Cpu, _g.Cpu.PageFault(0x1234, 7));
        Assert.Equal((0, SegmentGuest.InnerStack - 24, 0x89ABCUL), (_g.State->Cpl, _g.Rsp, _g.State->Rip));
        Assert.Equal((7u, 0x777u, (uint)SegmentGuest.UserCode32), (_g.Read32(_g.Rsp), _g.Read32(_g.Rsp + 4), _g.Read32(_g.Rsp + 8)));
        Assert.Equal((SegmentGuest.Stack, (uint)SegmentGuest.UserData32), (_g.Read32(_g.Rsp + 16), _g.Read32(_g.Rsp + 20)));
        Assert.Equal(SegmentGuest.Data32, _g.State->Ss.Selector);
    }

    [Fact]
    public void A16BitGatePushesWordsAndCutsTheOffset()
    {
        _g.EnterProtected();
        _g.SetGate(0x20, SegmentGuest.Code32, 0x12345, 0x86);
        EventDelivery.DeliverInterrupt(_g.Cpu, 0x20);
        Assert.Equal((SegmentGuest.Stack - 6, 0x2345UL), (_g.Rsp, _g.State->Rip));
    }

    [Fact]
    public void AConformingHandlerRunsAtTheInterruptedPrivilege()
    {
        _g.EnterProtected(3);
        _g.SetGate(0x20, SegmentGuest.Conforming32, 0x100, 0x8E);
        EventDelivery.DeliverInterrupt(_g.Cpu, 0x20);
        Assert.Equal((3, SegmentGuest.Stack - 12), (_g.State->Cpl, _g.Rsp));
    }

    [Fact]
    public void FromVirtual8086ModeDataSegmentsArePushedAndNulled()
    {
        _g.EnterVirtual(iopl: 0);
        _g.SetGate(0x20, SegmentGuest.Code32, 0x100, 0x8E);
        ulong flags = _g.State->Flags;
        EventDelivery.DeliverInterrupt(_g.Cpu, 0x20);
        Assert.False(_g.State->IsVirtual8086);
        Assert.Equal((0, SegmentGuest.InnerStack - 36), (_g.State->Cpl, _g.Rsp));
        Assert.Equal((flags, 0x1000u), (_g.Read32(_g.Rsp + 8), _g.Read32(_g.Rsp + 12)));
        Assert.Equal((0x2000u, 0u, 0x1234u), (_g.Read32(_g.Rsp + 16), _g.Read32(_g.Rsp + 20), _g.Read32(_g.Rsp + 24)));
        Assert.False(_g.State->Ds.IsUsable);
        Assert.False(_g.State->Gs.IsUsable);
        InterruptReturn.Execute(_g.Cpu, 4);
        Assert.Equal((true, 0x12340UL, flags), (_g.State->IsVirtual8086, _g.State->Ds.Base, _g.State->Flags));
    }

    [Fact]
    public void FromVirtual8086ModeTheHandlerMustBeAtPrivilege0()
    {
        _g.EnterVirtual(iopl: 3);
        _g.SetGate(0x20, SegmentGuest.Conforming32, 0x100, 0xEE);
        _g.ExpectFault(ExceptionVector.GeneralProtection, SegmentGuest.Conforming32, () => EventDelivery.DeliverSoftware(_g.Cpu, 0x20, SoftwareInterruptKind.Int));
    }

    [Fact]
    public void IntNInVirtual8086ModeNeedsIopl3ButInt3DoesNot()
    {
        _g.EnterVirtual(iopl: 0);
        _g.SetGate(0x20, SegmentGuest.Code32, 0x100, 0xEE);
        _g.SetGate(3, SegmentGuest.Code32, 0x300, 0xEE);
        _g.ExpectFault(ExceptionVector.GeneralProtection, 0, () => EventDelivery.DeliverSoftware(_g.Cpu, 0x20, SoftwareInterruptKind.Int));
        EventDelivery.DeliverSoftware(_g.Cpu, 3, SoftwareInterruptKind.Int3);
        Assert.Equal(0x300UL, _g.State->Rip);
    }

    [Theory]
    [InlineData(0)]
    [InlineData(3)]
    public void UnderVmeAClearRedirectionBitCallsTheProgramsOwnHandler(int iopl)
    {
        _g.EnterVirtual(iopl);
        _g.State->Cr4 |= Cr4.Vme;
        _g.Write16(SegmentGuest.Tss + 102, 0x88);
        _g.Write32(0x21 * 4, 0x3000_0123);
        ulong ring = CpuFlags.Iopl;
        EventDelivery.DeliverSoftware(_g.Cpu, 0x21, SoftwareInterruptKind.Int);
        Assert.Equal((0x30000UL, 0x123UL, 0xFFAUL), (_g.State->Cs.Base, _g.State->Rip, _g.Rsp));
        Assert.Equal(iopl == 3 ? 0x3202UL : ring | CpuFlags.Fixed, _g.Read16(0x20FFE));
        Assert.Equal(iopl == 3 ? 0 : CpuFlags.If, _g.State->Flags & (CpuFlags.If | CpuFlags.Vif));
    }

    [Fact]
    public void UnderVmeASetRedirectionBitFollowsIopl()
    {
        _g.EnterVirtual(iopl: 0);
        _g.State->Cr4 |= Cr4.Vme;
        _g.Write16(SegmentGuest.Tss + 102, 0x88);
        _g.Ram[SegmentGuest.Tss + 0x68 + 4] = 2;
        _g.SetGate(0x21, SegmentGuest.Code32, 0x100, 0xEE);
        _g.ExpectFault(ExceptionVector.GeneralProtection, 0, () => EventDelivery.DeliverSoftware(_g.Cpu, 0x21, SoftwareInterruptKind.Int));
        _g.State->Flags |= CpuFlags.Iopl;
        EventDelivery.DeliverSoftware(_g.Cpu, 0x21, SoftwareInterruptKind.Int);
        Assert.Equal((0, 0x100UL), (_g.State->Cpl, _g.State->Rip));
    }

    private static ulong Handler(int vector) => 0x40000 + ((ulong)vector * 16);

    private void Handlers(uint access)
    {
        for (int vector = 0; vector < 256; vector++)
            _g.SetGate(vector, SegmentGuest.Code64, Handler(vector), access);
    }
}
