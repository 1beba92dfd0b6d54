using Doppel.Machine.Cpu;
using Doppel.Machine.Cpu.Events;
using Doppel.Machine.Cpu.Segments;

namespace Doppel.Machine.Tests.Segments;

public sealed unsafe class TaskSwitchTests : IDisposable
{
    private const ulong New = SegmentGuest.OtherTss;
    private readonly SegmentGuest _g = new();

    public TaskSwitchTests()
    {
        _g.EnterProtected();
        _g.State->Rip = 0x777;
        _g.Write32(New + 0x20, 0x1234);
        _g.Write32(New + 0x24, 0x202);
        for (uint i = 0; i < 8; i++)
            _g.Write32(New + 0x28 + (4 * i), 0x1000 + i);
        _g.Write32(New + 0x38, (uint)SegmentGuest.InnerStack);
        foreach (uint offset in (uint[])[0x48, 0x50, 0x54, 0x58, 0x5C])
            _g.Write32(New + offset, SegmentGuest.Data32);
        _g.Write32(New + 0x4C, SegmentGuest.Code32);
        _g.Write32(New + 0x60, SegmentGuest.LdtSelector);
    }

    public void Dispose() => _g.Dispose();

    [Fact]
    public void AJumpSavesTheOldTaskAndMovesTheBusyBit()
    {
        _g.State->Gpr[3] = 0xB0B0;
        FarTransfers.Jump(_g.Cpu, SegmentGuest.OtherTssSelector, 0, 4);
        Assert.Equal((0x777u, 0xB0B0u), (_g.Read32(SegmentGuest.Tss + 0x20), _g.Read32(SegmentGuest.Tss + 0x34)));
        Assert.Equal(SegmentGuest.Code32, _g.Read16(SegmentGuest.Tss + 0x4C));
        Assert.Equal(0x89UL, (_g.ReadEntry(SegmentGuest.TssSelector) >> 40) & 0xFF);
        Assert.Equal(0x8BUL, (_g.ReadEntry(SegmentGuest.OtherTssSelector) >> 40) & 0xFF);
        Assert.Equal((SegmentGuest.OtherTssSelector, New, 11), (_g.State->Tr.Selector, _g.State->Tr.Base, _g.State->Tr.Type));
        Assert.Equal((0x1234UL, 0x202UL, 0x1003UL), (_g.State->Rip, _g.State->Flags, _g.State->Gpr[3]));
        Assert.Equal((SegmentGuest.LdtSelector, SegmentGuest.Ldt), (_g.State->Ldtr.Selector, _g.State->Ldtr.Base));
        Assert.NotEqual(0UL, _g.State->Cr0 & Cr0.Ts);
    }

    [Fact]
    public void ACallNestsAndIretWithNtReturns()
    {
        FarTransfers.Call(_g.Cpu, SegmentGuest.OtherTssSelector, 0, 4);
        Assert.Equal(0x202UL | CpuFlags.Nt, _g.State->Flags);
        Assert.Equal(SegmentGuest.TssSelector, _g.Read16(New));
        Assert.Equal(0x8BUL, (_g.ReadEntry(SegmentGuest.TssSelector) >> 40) & 0xFF);

        InterruptReturn.Execute(_g.Cpu, 4);
        Assert.Equal((0x777UL, SegmentGuest.TssSelector), (_g.State->Rip, _g.State->Tr.Selector));
        Assert.Equal(0x89UL, (_g.ReadEntry(SegmentGuest.OtherTssSelector) >> 40) & 0xFF);
        Assert.Equal(0x202u, _g.Read32(New + 0x24));
    }

    [Fact]
    public void SegmentsOfTheNewTaskComeFromItsOwnLdt()
    {
        _g.WriteEntry(0x0C, SegmentGuest.Descriptor(0xABC000, 0xFFFFF, 0x92, 0xC));
        _g.Write32(New + 0x54, 0x0C);
        FarTransfers.Jump(_g.Cpu, SegmentGuest.OtherTssSelector, 0, 4);
        Assert.Equal(0xABC000UL, _g.State->Ds.Base);
    }

    [Fact]
    public void A16BitTaskLoadsTheLowHalves()
    {
        const ulong Small = 0x6000;
        _g.Describe(SegmentGuest.Free, Small, 0x2B, 0x81, 0);
        _g.Write16(Small + 0x0E, 0x4321);
        _g.Write16(Small + 0x10, 0x3002);
        _g.Write16(Small + 0x12, 0xAAAA);
        _g.Write16(Small + 0x1A, 0x8000);
        _g.Write16(Small + 0x22, SegmentGuest.Data16);
        _g.Write16(Small + 0x24, SegmentGuest.Code16);
        _g.Write16(Small + 0x26, SegmentGuest.Data16);
        _g.Write16(Small + 0x28, SegmentGuest.Data16);
        FarTransfers.Call(_g.Cpu, SegmentGuest.Free, 0, 4);
        Assert.Equal((0x4321UL, 0x7002UL), (_g.State->Rip, _g.State->Flags));
        Assert.Equal((0xAAAAu, 0x8000u), ((ushort)_g.State->Gpr[0], (ushort)_g.Rsp));
        Assert.False(_g.State->Fs.IsUsable);
        _g.State->Gpr[1] = 0x5555;
        InterruptReturn.Execute(_g.Cpu, 2);
        Assert.Equal(0x5555, _g.Read16(Small + 0x14));
        Assert.Equal(0x777UL, _g.State->Rip);
    }

    [Theory]
    [InlineData(0x8Bu, 0xFFu, ExceptionVector.GeneralProtection)]
    [InlineData(0x09u, 0xFFu, ExceptionVector.SegmentNotPresent)]
    [InlineData(0x89u, 0x66u, ExceptionVector.InvalidTss)]
    [InlineData(0x81u, 0x2Au, ExceptionVector.InvalidTss)]
    public void AnUnusableTssFaultsInTheOldTask(uint access, uint limit, ExceptionVector vector)
    {
        _g.Describe(SegmentGuest.OtherTssSelector, New, limit, access, 0);
        _g.ExpectFault(vector, SegmentGuest.OtherTssSelector, () => FarTransfers.Jump(_g.Cpu, SegmentGuest.OtherTssSelector, 0, 4));
        Assert.Equal(0x8BUL, (_g.ReadEntry(SegmentGuest.TssSelector) >> 40) & 0xFF);
    }

    [Fact]
    public void ReturnToATaskThatIsNotBusyIsAnInvalidTss()
    {
        _g.State->Flags |= CpuFlags.Nt;
        _g.Write16(SegmentGuest.Tss, SegmentGuest.OtherTssSelector);
        _g.ExpectFault(ExceptionVector.InvalidTss, SegmentGuest.OtherTssSelector, () => InterruptReturn.Execute(_g.Cpu, 4));
    }

    [Theory]
    [InlineData(0x60, SegmentGuest.Data32, ExceptionVector.InvalidTss)]
    [InlineData(0x50, SegmentGuest.UserData32, ExceptionVector.InvalidTss)]
    [InlineData(0x50, SegmentGuest.AbsentData, ExceptionVector.StackFault)]
    [InlineData(0x50, 0, ExceptionVector.InvalidTss)]
    [InlineData(0x54, SegmentGuest.ExecuteOnly, ExceptionVector.InvalidTss)]
    [InlineData(0x5C, SegmentGuest.AbsentData, ExceptionVector.SegmentNotPresent)]
    [InlineData(0x4C, SegmentGuest.Data32, ExceptionVector.InvalidTss)]
    [InlineData(0x4C, 0, ExceptionVector.InvalidTss)]
    public void ABadFieldOfTheNewTssFaultsInTheNewTask(int offset, int selector, ExceptionVector vector)
    {
        _g.Write32(New + (uint)offset, (uint)selector);
        (ExceptionVector, uint) seen = SegmentGuest.Catch(() => FarTransfers.Jump(_g.Cpu, SegmentGuest.OtherTssSelector, 0, 4));
        Assert.Equal((vector, (uint)selector & 0xFFFC), seen);
        Assert.Equal((SegmentGuest.OtherTssSelector, 0x1234UL), (_g.State->Tr.Selector, _g.State->Rip));
    }

    [Fact]
    public void AFaultInTheNewTaskIsMarkedSoThatRipStays()
    {
        _g.Write32(New + 0x54, SegmentGuest.ExecuteOnly);
        bool isTrap = false;
        try
        {
            FarTransfers.Jump(_g.Cpu, SegmentGuest.OtherTssSelector, 0, 4);
        }
        catch (GuestFault fault)
        {
            isTrap = fault.IsTrap;
        }

        Assert.True(isTrap);
    }

    [Fact]
    public void TheTBitRaisesADebugTrapAfterTheSwitch()
    {
        _g.Write16(New + 0x64, 1);
        _g.State->Dr[7] = 0x755;
        ulong status = 0;
        try
        {
            FarTransfers.Jump(_g.Cpu, SegmentGuest.OtherTssSelector, 0, 4);
        }
        catch (GuestFault fault)
        {
            Assert.Equal((ExceptionVector.Debug, true), (fault.Vector, fault.IsTrap));
            status = fault.DebugStatus;
        }

        Assert.Equal(0x8000UL, status);
        Assert.Equal(0x1234UL, _g.State->Rip);
        Assert.Equal(0x600UL, _g.State->Dr[7]);
    }

    [Fact]
    public void ATaskGateInTheIdtPushesTheErrorCodeOnTheNewStack()
    {
        _g.SetGate(10, SegmentGuest.OtherTssSelector, 0, 0x85);
        EventDelivery.Deliver(_g.Cpu, _g.Cpu.Fault(ExceptionVector.InvalidTss, 0x48));
        Assert.Equal((0x1234UL, SegmentGuest.InnerStack - 4), (_g.State->Rip, _g.Rsp));
        Assert.Equal(0x48u, _g.Read32(_g.Rsp));
        Assert.Equal(SegmentGuest.TssSelector, _g.Read16(New));
        Assert.Equal(0x777u, _g.Read32(SegmentGuest.Tss + 0x20));
        Assert.NotEqual(0u, _g.Read32(SegmentGuest.Tss + 0x24) & (uint)CpuFlags.Rf);
        Assert.NotEqual(0UL, _g.State->Flags & CpuFlags.Nt);
    }

    [Fact]
    public void ACallThroughATaskGateNeedsItsPrivilege()
    {
        _g.EnterProtected(3);
        _g.WriteEntry(SegmentGuest.Free, SegmentGuest.Gate(SegmentGuest.OtherTssSelector, 0, 0x85));
        _g.ExpectFault(ExceptionVector.GeneralProtection, SegmentGuest.Free, () => FarTransfers.Call(_g.Cpu, SegmentGuest.Free, 0, 4));
        _g.WriteEntry(SegmentGuest.Free, SegmentGuest.Gate(SegmentGuest.OtherTssSelector, 0, 0xE5));
        FarTransfers.Call(_g.Cpu, SegmentGuest.Free, 0, 4);
        Assert.Equal((0, 0x1234UL), (_g.State->Cpl, _g.State->Rip));
    }

    [Fact]
    public void ATaskMayRunInVirtual8086Mode()
    {
        _g.Write32(New + 0x24, (uint)(CpuFlags.Vm | CpuFlags.Fixed));
        _g.Write32(New + 0x4C, 0x1000);
        _g.Write32(New + 0x50, 0x2000);
        FarTransfers.Jump(_g.Cpu, SegmentGuest.OtherTssSelector, 0, 4);
        Assert.Equal((3, 0x10000UL, 0x20000UL), (_g.State->Cpl, _g.State->Cs.Base, _g.State->Ss.Base));
    }

    [Fact]
    public void TheNewTasksPageTablesAreInForceForItsSegments()
    {
        // Two directories of 4 MiB pages: the second one maps the third 4 MiB where the first maps itself one to one.
        const ulong First = 0x40000;
        const ulong Second = 0x41000;
        for (ulong i = 0; i < 4; i++)
        {
            _g.Write32(First + (4 * i), (uint)((i << 22) | 0x83));
            _g.Write32(Second + (4 * i), (uint)((i << 22) | 0x83));
        }

        _g.Write32(Second + 8, 0x83);
        _g.State->Cr4 |= Cr4.Pse;
        _g.State->Cr3 = First;
        _g.State->Cr0 |= Cr0.Pg;
        _g.Cpu.Tlb.FlushAll();
        _g.Write32(New + 0x1C, (uint)Second);
        _g.Write32(0x9000, 0x12345678);
        Assert.NotEqual(0x12345678u, _g.Cpu.Linear.Read<uint>(0x809000));
        FarTransfers.Jump(_g.Cpu, SegmentGuest.OtherTssSelector, 0, 4);
        Assert.Equal(Second, _g.State->Cr3);
        Assert.Equal(0x12345678u, _g.Cpu.Linear.Read<uint>(0x809000));
    }

    [Fact]
    public void APageFaultOnTheNewTssLeavesTheOldTaskWhole()
    {
        const ulong Directory = 0x40000;
        for (ulong i = 0; i < 4; i++)
            _g.Write32(Directory + (4 * i), (uint)((i << 22) | 0x83));
        _g.Write32(Directory + 8, 0);
        _g.State->Cr4 |= Cr4.Pse;
        _g.State->Cr3 = Directory;
        _g.State->Cr0 |= Cr0.Pg;
        _g.Cpu.Tlb.FlushAll();
        _g.Describe(SegmentGuest.OtherTssSelector, 0x800000, 0xFF, 0x89, 0);
        _g.ExpectFault(ExceptionVector.PageFault, 0, () => FarTransfers.Jump(_g.Cpu, SegmentGuest.OtherTssSelector, 0, 4));
        Assert.Equal(0x8BUL, (_g.ReadEntry(SegmentGuest.TssSelector) >> 40) & 0xFF);
    }
}
