using Doppel.Machine.Cpu;
using Doppel.Machine.Cpu.Segments;

namespace Doppel.Machine.Tests.Segments;

public sealed unsafe class FarTransferTests : IDisposable
{
    private readonly SegmentGuest _g = new();

    public void Dispose() => _g.Dispose();

    [Fact]
    public void RealModeCallAndReturnAreInverse()
    {
        _g.EnterReal();
        _g.State->Rip = 0x105;
        FarTransfers.Call(_g.Cpu, 0x3000, 0x0010, 2);
        Assert.Equal((0x30000UL, 0x10UL, 0xFFCUL), (_g.State->Cs.Base, _g.State->Rip, _g.Rsp));
        Assert.Equal((0x105, 0), (_g.Read16(0x20FFC), _g.Read16(0x20FFE)));
        FarTransfers.Return(_g.Cpu, 2, 6);
        Assert.Equal((0UL, 0x105UL, 0x1006UL), (_g.State->Cs.Base, _g.State->Rip, _g.Rsp));
    }

    [Fact]
    public void RealModeJumpBeyondTheLimitFaults()
    {
        _g.EnterReal();
        _g.ExpectFault(ExceptionVector.GeneralProtection, 0, () => FarTransfers.Jump(_g.Cpu, 0x100, 0x10000, 4));
        _g.ExpectFault(ExceptionVector.GeneralProtection, 0, () => FarTransfers.Call(_g.Cpu, 0x100, 0x10000, 4));
    }

    [Fact]
    public void A16BitRealModeStackWrapsAtItsEndAndFaultsAcrossIt()
    {
        _g.EnterReal();
        _g.Rsp = 0xABCD0000;
        FarTransfers.Call(_g.Cpu, 0x3000, 0x10, 2);
        Assert.Equal(0xABCDFFFCUL, _g.Rsp);
        _g.Rsp = 1;
        _g.ExpectFault(ExceptionVector.StackFault, 0, () => FarTransfers.Call(_g.Cpu, 0x3000, 0x10, 2));
    }

    [Fact]
    public void ADirectJumpLoadsCsWithTheCurrentPrivilegeAsItsRpl()
    {
        _g.EnterProtected(3);
        FarTransfers.Jump(_g.Cpu, SegmentGuest.UserCode32 & 0xFFFC, 0x1234, 4);
        Assert.Equal((SegmentGuest.UserCode32, 0x1234UL), (_g.State->Cs.Selector, _g.State->Rip));
        FarTransfers.Jump(_g.Cpu, SegmentGuest.Conforming32, 0x1234, 4);
        Assert.Equal(SegmentGuest.Conforming32 | 3, _g.State->Cs.Selector);
        Assert.Equal(3, _g.State->Cpl);
    }

    [Theory]
    [InlineData(0, 0)]
    [InlineData(SegmentGuest.Code32, SegmentGuest.Code32)]
    [InlineData(SegmentGuest.UserData32, SegmentGuest.UserData32 & 0xFFFC)]
    [InlineData(0x1F8, 0x1F8)]
    public void AnIllegalDirectTargetIsAGeneralProtectionFault(int selector, int code)
    {
        _g.EnterProtected(3);
        _g.ExpectFault(ExceptionVector.GeneralProtection, (uint)code, () => FarTransfers.Jump(_g.Cpu, (ushort)selector, 0, 4));
        _g.ExpectFault(ExceptionVector.GeneralProtection, (uint)code, () => FarTransfers.Call(_g.Cpu, (ushort)selector, 0, 4));
    }

    [Fact]
    public void AnAbsentTargetAndAnOffsetBeyondTheLimitFault()
    {
        _g.EnterProtected();
        _g.Describe(SegmentGuest.Free, 0, 0xFF, 0x1A, 0x4);
        _g.ExpectFault(ExceptionVector.SegmentNotPresent, SegmentGuest.Free, () => FarTransfers.Jump(_g.Cpu, SegmentGuest.Free, 0, 4));
        _g.Describe(SegmentGuest.Free, 0, 0xFF, 0x9A, 0x4);
        _g.ExpectFault(ExceptionVector.GeneralProtection, 0, () => FarTransfers.Jump(_g.Cpu, SegmentGuest.Free, 0x100, 4));
    }

    [Fact]
    public void ACallGateSwitchesTheStackAndCopiesParameters()
    {
        _g.EnterProtected(3);
        _g.WriteEntry(SegmentGuest.Free, SegmentGuest.Gate(SegmentGuest.Code32, 0x00123456, 0xEC, 2));
        _g.PushFrame(4, 0x11111111, 0x22222222);
        ulong oldStack = _g.Rsp;
        _g.State->Rip = 0x777;
        FarTransfers.Call(_g.Cpu, SegmentGuest.Free | 3, 0xDEAD, 4);
        Assert.Equal((0, SegmentGuest.Code32, 0x123456UL), (_g.State->Cpl, _g.State->Cs.Selector, _g.State->Rip));
        Assert.Equal((SegmentGuest.Data32, SegmentGuest.InnerStack - 24), (_g.State->Ss.Selector, _g.Rsp));
        Assert.Equal(0x777u, _g.Read32(_g.Rsp));
        Assert.Equal(SegmentGuest.UserCode32, _g.Read32(_g.Rsp + 4));
        Assert.Equal(0x11111111u, _g.Read32(_g.Rsp + 8));
        Assert.Equal(0x22222222u, _g.Read32(_g.Rsp + 12));
        Assert.Equal(oldStack, _g.Read32(_g.Rsp + 16));
        Assert.Equal(SegmentGuest.UserData32, _g.Read32(_g.Rsp + 20));

        FarTransfers.Return(_g.Cpu, 4, 8);
        Assert.Equal((3, SegmentGuest.UserCode32, 0x777UL), (_g.State->Cpl, _g.State->Cs.Selector, _g.State->Rip));
        Assert.Equal((SegmentGuest.UserData32, oldStack + 8), (_g.State->Ss.Selector, _g.Rsp));
    }

    [Fact]
    public void A16BitCallGatePushesWords()
    {
        _g.EnterProtected(3);
        _g.WriteEntry(SegmentGuest.Free, SegmentGuest.Gate(SegmentGuest.Code32, 0x1234, 0xE4, 0));
        FarTransfers.Call(_g.Cpu, SegmentGuest.Free, 0, 4);
        Assert.Equal(SegmentGuest.InnerStack - 8, _g.Rsp);
        Assert.Equal(0x1234UL, _g.State->Rip);
    }

    [Fact]
    public void AGateThatMayNotBeUsedFaultsWithItsOwnSelector()
    {
        _g.EnterProtected(3);
        _g.WriteEntry(SegmentGuest.Free, SegmentGuest.Gate(SegmentGuest.Code32, 0x10, 0x8C));
        _g.ExpectFault(ExceptionVector.GeneralProtection, SegmentGuest.Free, () => FarTransfers.Call(_g.Cpu, SegmentGuest.Free, 0, 4));
        _g.WriteEntry(SegmentGuest.Free, SegmentGuest.Gate(SegmentGuest.Code32, 0x10, 0x6C));
        _g.ExpectFault(ExceptionVector.SegmentNotPresent, SegmentGuest.Free, () => FarTransfers.Call(_g.Cpu, SegmentGuest.Free, 0, 4));
        _g.WriteEntry(SegmentGuest.Free, SegmentGuest.Gate(0, 0x10, 0xEC));
        _g.ExpectFault(ExceptionVector.GeneralProtection, 0, () => FarTransfers.Call(_g.Cpu, SegmentGuest.Free, 0, 4));
        _g.WriteEntry(SegmentGuest.Free, SegmentGuest.Gate(SegmentGuest.Data32, 0x10, 0xEC));
        _g.ExpectFault(ExceptionVector.GeneralProtection, SegmentGuest.Data32, () => FarTransfers.Call(_g.Cpu, SegmentGuest.Free, 0, 4));
    }

    [Fact]
    public void AJumpThroughAGateMayNotRaisePrivilege()
    {
        _g.EnterProtected(3);
        _g.WriteEntry(SegmentGuest.Free, SegmentGuest.Gate(SegmentGuest.Code32, 0x10, 0xEC));
        _g.ExpectFault(ExceptionVector.GeneralProtection, SegmentGuest.Code32, () => FarTransfers.Jump(_g.Cpu, SegmentGuest.Free, 0, 4));
    }

    [Theory]
    [InlineData(0, ExceptionVector.InvalidTss, 0)]
    [InlineData(SegmentGuest.UserData32, ExceptionVector.InvalidTss, SegmentGuest.UserData32 & 0xFFFC)]
    [InlineData(SegmentGuest.ReadOnlyData, ExceptionVector.InvalidTss, SegmentGuest.ReadOnlyData)]
    [InlineData(SegmentGuest.AbsentData, ExceptionVector.StackFault, SegmentGuest.AbsentData)]
    [InlineData(0x1F8, ExceptionVector.InvalidTss, 0x1F8)]
    public void ABadInnerStackSegmentIsAnInvalidTss(int selector, ExceptionVector vector, int code)
    {
        _g.EnterProtected(3);
        _g.Write16(SegmentGuest.Tss + 8, (ushort)selector);
        _g.WriteEntry(SegmentGuest.Free, SegmentGuest.Gate(SegmentGuest.Code32, 0x10, 0xEC));
        _g.ExpectFault(vector, (uint)code, () => FarTransfers.Call(_g.Cpu, SegmentGuest.Free, 0, 4));
    }

    [Fact]
    public void AnInnerStackWithoutRoomFaultsWithItsSelector()
    {
        _g.EnterProtected(3);
        _g.Write16(SegmentGuest.Tss + 8, SegmentGuest.Data16);
        _g.Write32(SegmentGuest.Tss + 4, 0x11);
        _g.WriteEntry(SegmentGuest.Free, SegmentGuest.Gate(SegmentGuest.Code32, 0x10, 0xEC, 1));
        _g.ExpectFault(ExceptionVector.StackFault, SegmentGuest.Data16, () => FarTransfers.Call(_g.Cpu, SegmentGuest.Free, 0, 4));
    }

    [Fact]
    public void ATssTooShortForTheStackIsAnInvalidTss()
    {
        _g.EnterProtected(3);
        _g.State->Tr.Limit = 8;
        _g.WriteEntry(SegmentGuest.Free, SegmentGuest.Gate(SegmentGuest.Code32, 0x10, 0xEC));
        _g.ExpectFault(ExceptionVector.InvalidTss, SegmentGuest.TssSelector, () => FarTransfers.Call(_g.Cpu, SegmentGuest.Free, 0, 4));
    }

    [Fact]
    public void A64BitCallGateEntersANullStackSegmentAndReturns()
    {
        _g.EnterLong(3);
        _g.WriteEntry(SegmentGuest.Free, SegmentGuest.Gate(SegmentGuest.Code64, 0x89ABCDEF, 0xEC));
        _g.WriteEntry(SegmentGuest.Free + 8, 0xFFFF8000);
        _g.State->Rip = 0x1111_2222_3333;
        FarTransfers.Call(_g.Cpu, SegmentGuest.Free, 0, 4);
        Assert.Equal((0, 0xFFFF8000_89ABCDEFUL), (_g.State->Cpl, _g.State->Rip));
        Assert.Equal((0, false, SegmentGuest.InnerStack - 32), (_g.State->Ss.Selector, _g.State->Ss.IsUsable, _g.Rsp));
        Assert.Equal(0x1111_2222_3333UL, _g.Read64(_g.Rsp));
        Assert.Equal(SegmentGuest.UserCode64, _g.Read64(_g.Rsp + 8));
        Assert.Equal(SegmentGuest.Stack, _g.Read64(_g.Rsp + 16));
        Assert.Equal(SegmentGuest.UserData32, _g.Read64(_g.Rsp + 24));
        FarTransfers.Return(_g.Cpu, 8, 0);
        Assert.Equal((3, 0x1111_2222_3333UL, SegmentGuest.Stack), (_g.State->Cpl, _g.State->Rip, _g.Rsp));
    }

    [Fact]
    public void LongModeRefusesTasksAndGatesToCompatibilityCode()
    {
        _g.EnterLong();
        _g.ExpectFault(ExceptionVector.GeneralProtection, SegmentGuest.TssSelector, () => FarTransfers.Jump(_g.Cpu, SegmentGuest.TssSelector, 0, 4));
        _g.WriteEntry(SegmentGuest.Free, SegmentGuest.Gate(SegmentGuest.Code32, 0x10, 0xEC));
        _g.WriteEntry(SegmentGuest.Free + 8, 0);
        _g.ExpectFault(ExceptionVector.GeneralProtection, SegmentGuest.Code32, () => FarTransfers.Call(_g.Cpu, SegmentGuest.Free, 0, 4));
    }

    [Fact]
    public void LongModeRefusesCodeWithBothLAndD()
    {
        _g.EnterLong();
        _g.Describe(SegmentGuest.Free, 0, 0xFFFFF, 0x9A, 0xE);
        _g.ExpectFault(ExceptionVector.GeneralProtection, SegmentGuest.Free, () => FarTransfers.Jump(_g.Cpu, SegmentGuest.Free, 0, 4));
    }

    [Fact]
    public void AJumpMovesBetween64BitAndCompatibilityMode()
    {
        _g.EnterLong();
        FarTransfers.Jump(_g.Cpu, SegmentGuest.Code32, 0x1000, 4);
        Assert.False(_g.State->Is64Bit);
        FarTransfers.Jump(_g.Cpu, SegmentGuest.Code64, 0x2000, 4);
        Assert.True(_g.State->Is64Bit);
        _g.ExpectFault(ExceptionVector.GeneralProtection, 0, () => FarTransfers.Jump(_g.Cpu, SegmentGuest.Code64, 0x8000_0000_0000, 8));
    }

    [Fact]
    public void AReturnToAnOuterPrivilegeNullsInnerDataSegments()
    {
        _g.EnterProtected();
        SegmentLoader.Load(_g.Cpu, Segment.Es, SegmentGuest.UserData32);
        SegmentLoader.Load(_g.Cpu, Segment.Fs, SegmentGuest.Conforming32);
        _g.PushFrame(4, 0x100, SegmentGuest.UserCode32, 0x9000, SegmentGuest.UserData32);
        FarTransfers.Return(_g.Cpu, 4, 0);
        Assert.Equal((3, 0x9000UL), (_g.State->Cpl, _g.Rsp));
        Assert.True(_g.State->Es.IsUsable);
        Assert.True(_g.State->Fs.IsUsable);
        Assert.Equal((0, false), (_g.State->Ds.Selector, _g.State->Ds.IsUsable));
        Assert.Equal((0, false), (_g.State->Gs.Selector, _g.State->Gs.IsUsable));
    }

    [Fact]
    public void AReturnToAnInnerPrivilegeIsRefused()
    {
        _g.EnterProtected(3);
        _g.PushFrame(4, 0x100, SegmentGuest.Code32);
        _g.ExpectFault(ExceptionVector.GeneralProtection, SegmentGuest.Code32, () => FarTransfers.Return(_g.Cpu, 4, 0));
    }
}
