using Doppel.Machine.Cpu;
using Doppel.Machine.Cpu.Events;
using Doppel.Machine.Tests.Segments;

namespace Doppel.Machine.Tests.Events;

/// <summary>What a fault during delivery becomes (Intel SDM vol. 3, table 6-5).</summary>
public sealed unsafe class NestedFaultTests : IDisposable
{
    private const int External = 0x20;
    private readonly SegmentGuest _g = new();

    public NestedFaultTests()
    {
        _g.EnterLong();
        for (int vector = 0; vector < 256; vector++)
            _g.SetGate(vector, SegmentGuest.Code64, Handler(vector), 0x8E);
    }

    public void Dispose() => _g.Dispose();

    [Theory]
    [InlineData(ExceptionVector.DivideError, 8)]
    [InlineData(ExceptionVector.InvalidTss, 8)]
    [InlineData(ExceptionVector.SegmentNotPresent, 8)]
    [InlineData(ExceptionVector.GeneralProtection, 8)]
    [InlineData(ExceptionVector.PageFault, 8)]
    [InlineData(ExceptionVector.InvalidOpcode, 11)]
    [InlineData(ExceptionVector.Debug, 11)]
    [InlineData(ExceptionVector.AlignmentCheck, 11)]
    public void AContributoryFaultDuringDelivery(ExceptionVector first, int delivered)
    {
        // The first handler's gate is absent, which is #NP; a #NP itself meets a gate of the wrong type, which is #GP.
        _g.SetGate((int)first, SegmentGuest.Code64, 0, first == ExceptionVector.SegmentNotPresent ? 0x8Cu : 0x0Eu);
        EventDelivery.Deliver(_g.Cpu, _g.Cpu.Fault(first));
        Assert.Equal(Handler(delivered), _g.State->Rip);
        Assert.Equal(delivered == 8 ? 0UL : ((ulong)first * 8) + 3, _g.Read64(_g.Rsp));
    }

    [Fact]
    public void APageFaultDuringAContributoryFaultIsDeliveredAlone()
    {
        IstInAbsentPage(13);
        EventDelivery.Deliver(_g.Cpu, _g.Cpu.GeneralProtection());
        Assert.Equal((Handler(14), SegmentGuest.AbsentPage + 0xFF8), (_g.State->Rip, _g.State->Cr2));
        Assert.Equal(2UL, _g.Read64(_g.Rsp));
    }

    [Fact]
    public void APageFaultDuringAPageFaultIsADoubleFault()
    {
        IstInAbsentPage(14);
        EventDelivery.Deliver(_g.Cpu, _g.Cpu.PageFault(0x123456, 0));
        Assert.Equal((Handler(8), SegmentGuest.AbsentPage + 0xFF8), (_g.State->Rip, _g.State->Cr2));
        Assert.Equal(0UL, _g.Read64(_g.Rsp));
    }

    [Fact]
    public void AFaultDuringADoubleFaultShutsDown()
    {
        _g.SetGate(8, SegmentGuest.Code64, 0, 0x0E);
        _g.SetGate(13, SegmentGuest.Code64, 0, 0x0E);
        EventDelivery.Deliver(_g.Cpu, _g.Cpu.GeneralProtection());
        Assert.Equal(ActivityState.Shutdown, _g.State->Activity);
    }

    [Fact]
    public void AnEmptyIdtShutsDownAsLinuxUsesItToReboot()
    {
        _g.State->Idtr.Limit = 0;
        EventDelivery.Deliver(_g.Cpu, _g.Cpu.Fault(ExceptionVector.Breakpoint));
        Assert.Equal(ActivityState.Shutdown, _g.State->Activity);
    }

    [Fact]
    public void AnEmptyRealModeTableShutsDownToo()
    {
        using var g = new SegmentGuest();
        g.EnterReal();
        g.State->Idtr.Limit = 0;
        EventDelivery.DeliverInterrupt(g.Cpu, 8);
        Assert.Equal(ActivityState.Shutdown, g.State->Activity);
    }

    [Fact]
    public void AFaultFromAnExternalInterruptHasTheExternalBit()
    {
        _g.SetGate(External, SegmentGuest.Code64, 0, 0x0E);
        EventDelivery.DeliverInterrupt(_g.Cpu, External);
        Assert.Equal((Handler(11), (External * 8) + 3UL), (_g.State->Rip, _g.Read64(_g.Rsp)));
        _g.SetGate(External, SegmentGuest.Data32, 0, 0x8E);
        EventDelivery.DeliverInterrupt(_g.Cpu, External);
        Assert.Equal((Handler(13), SegmentGuest.Data32 + 1UL), (_g.State->Rip, _g.Read64(_g.Rsp)));
    }

    [Fact]
    public void AnExternalInterruptOnVector13IsNotContributory()
    {
        _g.SetGate(13, SegmentGuest.Code64, 0, 0x0E);
        EventDelivery.DeliverInterrupt(_g.Cpu, 13);
        Assert.Equal(Handler(11), _g.State->Rip);
    }

    [Fact]
    public void AFaultFromIntNHasNoExternalBitAndOneFromInt1Has()
    {
        _g.SetGate(0x80, SegmentGuest.Code64, 0, 0x0E);
        _g.ExpectFault(ExceptionVector.SegmentNotPresent, (0x80 * 8) + 2, () => EventDelivery.DeliverSoftware(_g.Cpu, 0x80, SoftwareInterruptKind.Int));
        _g.SetGate(1, SegmentGuest.Code64, 0, 0x0E);
        _g.ExpectFault(ExceptionVector.SegmentNotPresent, 8 + 3, () => EventDelivery.DeliverSoftware(_g.Cpu, 1, SoftwareInterruptKind.Int1));
    }

    [Fact]
    public void AFaultPushesTheInterruptedInstructionAgainWhenItIsReplaced()
    {
        _g.State->Rip = 0x777;
        _g.SetGate(6, SegmentGuest.Code64, 0, 0x0E);
        EventDelivery.Deliver(_g.Cpu, _g.Cpu.InvalidOpcode());
        Assert.Equal(0x777UL, _g.Read64(_g.Rsp + 8));
        Assert.Equal(SegmentGuest.Stack, _g.Read64(_g.Rsp + 32));
    }

    [Fact]
    public void AHandlerIn32BitCodeIsRefusedInLongMode()
    {
        _g.SetGate(0x80, SegmentGuest.Code32, 0x100, 0x8E);
        _g.ExpectFault(ExceptionVector.GeneralProtection, SegmentGuest.Code32, () => EventDelivery.DeliverSoftware(_g.Cpu, 0x80, SoftwareInterruptKind.Int));
        _g.SetGate(0x80, SegmentGuest.Code64, 0x100, 0x86);
        _g.ExpectFault(ExceptionVector.GeneralProtection, (0x80 * 8) + 2, () => EventDelivery.DeliverSoftware(_g.Cpu, 0x80, SoftwareInterruptKind.Int));
        _g.SetGate(0x80, 0, 0x100, 0x8E);
        _g.ExpectFault(ExceptionVector.GeneralProtection, 0, () => EventDelivery.DeliverSoftware(_g.Cpu, 0x80, SoftwareInterruptKind.Int));
    }

    [Fact]
    public void AnIdtInAnAbsentPageIsAPageFaultOfTheProcessor()
    {
        _g.State->Idtr.Base = SegmentGuest.AbsentPage;
        EventDelivery.Deliver(_g.Cpu, _g.Cpu.InvalidOpcode());
        Assert.Equal(ActivityState.Shutdown, _g.State->Activity);
        Assert.Equal(SegmentGuest.AbsentPage + (8 * 16), _g.State->Cr2);
    }

    private static ulong Handler(int vector) => 0x40000 + ((ulong)vector * 16);

    private void IstInAbsentPage(int vector)
    {
        _g.Write64(SegmentGuest.Tss + 0x24, SegmentGuest.AbsentPage + 0x1000);
        _g.SetGate(vector, SegmentGuest.Code64, Handler(vector), 0x8E, ist: 1);
    }
}
