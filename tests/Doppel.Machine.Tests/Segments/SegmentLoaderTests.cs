using Doppel.Machine.Cpu;
using Doppel.Machine.Cpu.Segments;

namespace Doppel.Machine.Tests.Segments;

public sealed unsafe class SegmentLoaderTests : IDisposable
{
    private readonly SegmentGuest _g = new();

    public void Dispose() => _g.Dispose();

    [Fact]
    public void RealModeLoadSetsOnlyTheBaseAndKeepsAnUnrealLimit()
    {
        _g.EnterReal();
        _g.State->Ds.Limit = uint.MaxValue;
        SegmentLoader.Load(_g.Cpu, Segment.Ds, 0x1234);
        Assert.Equal(0x12340UL, _g.State->Ds.Base);
        Assert.Equal(uint.MaxValue, _g.State->Ds.Limit);
        Assert.Equal(0x512340UL, SegmentChecks.Linear(_g.Cpu, Segment.Ds, 0x500000, 4, write: true));
    }

    [Fact]
    public void RealModeFaultsBeyondFfff()
    {
        _g.EnterReal();
        Assert.Equal(0xFFFFUL, SegmentChecks.Linear(_g.Cpu, Segment.Ds, 0xFFFF, 1, write: true));
        _g.ExpectFault(ExceptionVector.GeneralProtection, 0, () => SegmentChecks.Linear(_g.Cpu, Segment.Ds, 0xFFFF, 2, write: false));
        _g.ExpectFault(ExceptionVector.StackFault, 0, () => SegmentChecks.Linear(_g.Cpu, Segment.Ss, 0xFFFE, 4, write: false));
    }

    [Fact]
    public void ProtectedLimitsSurviveTheReturnToRealMode()
    {
        _g.EnterProtected();
        SegmentLoader.Load(_g.Cpu, Segment.Fs, SegmentGuest.Data32);
        _g.State->Cr0 &= ~Cr0.Pe;
        _g.Cpu.ModeChanged();
        SegmentLoader.Load(_g.Cpu, Segment.Fs, 0x10);
        Assert.Equal(0x00900100UL, SegmentChecks.Linear(_g.Cpu, Segment.Fs, 0x900000, 4, write: false));
    }

    [Fact]
    public void TheStaleProtectedCodeSegmentMayBeWrittenInRealMode()
    {
        _g.EnterProtected();
        _g.State->Cr0 &= ~Cr0.Pe;
        Assert.Equal(0x100UL, SegmentChecks.Linear(_g.Cpu, Segment.Cs, 0x100, 2, write: true));
    }

    [Fact]
    public void AProtectedLoadSetsTheAccessedBitInTheTable()
    {
        _g.EnterProtected();
        SegmentLoader.Load(_g.Cpu, Segment.Es, SegmentGuest.Data16);
        Assert.Equal(0x93UL, (_g.ReadEntry(SegmentGuest.Data16) >> 40) & 0xFF);
        Assert.True(_g.State->Es.Has(SegmentAttributes.Accessed));
        Assert.Equal(0xFFFFu, _g.State->Es.Limit);
    }

    [Theory]
    [InlineData(Segment.Ds, SegmentGuest.AbsentData, ExceptionVector.SegmentNotPresent, SegmentGuest.AbsentData)]
    [InlineData(Segment.Ds, SegmentGuest.ExecuteOnly, ExceptionVector.GeneralProtection, SegmentGuest.ExecuteOnly)]
    [InlineData(Segment.Ds, SegmentGuest.TssSelector, ExceptionVector.GeneralProtection, SegmentGuest.TssSelector)]
    [InlineData(Segment.Ds, 0x100, ExceptionVector.GeneralProtection, 0x100)]
    [InlineData(Segment.Ds, 0x14, ExceptionVector.GeneralProtection, 0x14)]
    [InlineData(Segment.Ss, 0, ExceptionVector.GeneralProtection, 0)]
    [InlineData(Segment.Ss, SegmentGuest.AbsentData, ExceptionVector.StackFault, SegmentGuest.AbsentData)]
    [InlineData(Segment.Ss, SegmentGuest.ReadOnlyData, ExceptionVector.GeneralProtection, SegmentGuest.ReadOnlyData)]
    [InlineData(Segment.Ss, SegmentGuest.UserData32, ExceptionVector.GeneralProtection, SegmentGuest.UserData32 & 0xFFFC)]
    [InlineData(Segment.Ss, SegmentGuest.Data32 | 3, ExceptionVector.GeneralProtection, SegmentGuest.Data32)]
    public void ABadSelectorFaultsAndChangesNothing(Segment segment, int selector, ExceptionVector vector, int code)
    {
        _g.EnterProtected();
        _g.State->Ldtr.Attributes |= SegmentAttributes.Unusable;
        _g.ExpectFault(vector, (uint)code, () => SegmentLoader.Load(_g.Cpu, segment, (ushort)selector));
    }

    [Fact]
    public void APrivilegedDataSegmentIsRefusedAboveItsLevelButConformingCodeIsNot()
    {
        _g.EnterProtected(3);
        _g.ExpectFault(ExceptionVector.GeneralProtection, SegmentGuest.Data32, () => SegmentLoader.Load(_g.Cpu, Segment.Ds, SegmentGuest.Data32));
        SegmentLoader.Load(_g.Cpu, Segment.Ds, SegmentGuest.Conforming32);
        Assert.Equal(SegmentGuest.Conforming32, _g.State->Ds.Selector);
    }

    [Fact]
    public void ANullDataSegmentLoadsAndFaultsOnUse()
    {
        _g.EnterProtected();
        SegmentLoader.Load(_g.Cpu, Segment.Gs, 3);
        Assert.Equal(3, _g.State->Gs.Selector);
        _g.ExpectFault(ExceptionVector.GeneralProtection, 0, () => SegmentChecks.Linear(_g.Cpu, Segment.Gs, 0, 1, write: false));
    }

    [Fact]
    public void ALocalDescriptorIsReadFromTheLdt()
    {
        _g.EnterProtected();
        SegmentLoader.LoadLdtr(_g.Cpu, SegmentGuest.LdtSelector);
        _g.WriteEntry(0x0C, SegmentGuest.Descriptor(0x00ABCDEF, 0x10, 0x92, 0x4));
        SegmentLoader.Load(_g.Cpu, Segment.Ds, 0x0C);
        Assert.Equal(0x00ABCDEFUL, _g.State->Ds.Base);
        Assert.Equal(0x10u, _g.State->Ds.Limit);
        _g.ExpectFault(ExceptionVector.GeneralProtection, 0x104, () => SegmentLoader.Load(_g.Cpu, Segment.Ds, 0x104));
    }

    [Fact]
    public void NullStackSegmentLoadsOnlyBelowPrivilege3In64BitModeWithAMatchingRpl()
    {
        _g.EnterLong();
        _g.ExpectFault(ExceptionVector.GeneralProtection, 0, () => SegmentLoader.Load(_g.Cpu, Segment.Ss, 1));
        SegmentLoader.Load(_g.Cpu, Segment.Ss, 0);
        Assert.False(_g.State->Ss.IsUsable);
        _g.EnterLong(3);
        _g.ExpectFault(ExceptionVector.GeneralProtection, 0, () => SegmentLoader.Load(_g.Cpu, Segment.Ss, 3));
    }

    [Fact]
    public void LtrMarksTheTssBusyAndRefusesABusyOne()
    {
        _g.EnterProtected();
        SegmentLoader.LoadTr(_g.Cpu, SegmentGuest.OtherTssSelector);
        Assert.Equal(0x8BUL, (_g.ReadEntry(SegmentGuest.OtherTssSelector) >> 40) & 0xFF);
        Assert.Equal(11, _g.State->Tr.Type);
        _g.ExpectFault(ExceptionVector.GeneralProtection, SegmentGuest.OtherTssSelector, () => SegmentLoader.LoadTr(_g.Cpu, SegmentGuest.OtherTssSelector));
        _g.ExpectFault(ExceptionVector.GeneralProtection, 0, () => SegmentLoader.LoadTr(_g.Cpu, 0));
    }

    [Fact]
    public void LtrInLongModeTakesA64BitBase()
    {
        _g.EnterLong();
        _g.WriteEntry(SegmentGuest.Free, SegmentGuest.Descriptor(0x89ABCDEF, 0x67, 0x89, 0));
        _g.WriteEntry(SegmentGuest.Free + 8, 0xFFFF8000);
        SegmentLoader.LoadTr(_g.Cpu, SegmentGuest.Free);
        Assert.Equal(0xFFFF800089ABCDEFUL, _g.State->Tr.Base);
        _g.WriteEntry(SegmentGuest.Free, SegmentGuest.Descriptor(0, 0x67, 0x89, 0));
        _g.WriteEntry(SegmentGuest.Free + 8, 0x0000_9200_0000_0000);
        _g.ExpectFault(ExceptionVector.GeneralProtection, SegmentGuest.Free, () => SegmentLoader.LoadTr(_g.Cpu, SegmentGuest.Free));
    }

    [Fact]
    public void LldtAndLtrNeedProtectedModeAtPrivilege0()
    {
        _g.EnterReal();
        _g.ExpectFault(ExceptionVector.InvalidOpcode, 0, () => SegmentLoader.LoadLdtr(_g.Cpu, SegmentGuest.LdtSelector));
        _g.EnterProtected(3);
        _g.ExpectFault(ExceptionVector.GeneralProtection, 0, () => SegmentLoader.LoadLdtr(_g.Cpu, SegmentGuest.LdtSelector));
        _g.ExpectFault(ExceptionVector.GeneralProtection, 0, () => SegmentLoader.LoadTr(_g.Cpu, SegmentGuest.OtherTssSelector));
    }

    [Fact]
    public void DescriptorTablesAreReadAsSupervisorAtPrivilege3()
    {
        _g.EnterLong(3);
        // The large page that holds the GDT becomes a supervisor page.
        _g.Write64(0x12000, 0x83);
        _g.Cpu.Tlb.FlushAll();
        SegmentLoader.Load(_g.Cpu, Segment.Ds, SegmentGuest.UserData32);
        Assert.Equal(SegmentGuest.UserData32, _g.State->Ds.Selector);
    }

    [Fact]
    public void DescriptorReadsUnderSmapIgnoreTheAcOverride()
    {
        _g.EnterLong();
        _g.State->Cr4 |= Cr4.Smap;
        _g.State->Flags |= CpuFlags.Ac;
        _g.Cpu.Tlb.FlushAll();
        _g.Cpu.ModeChanged();
        (ExceptionVector vector, uint code) = SegmentGuest.Catch(() => SegmentLoader.Load(_g.Cpu, Segment.Ds, SegmentGuest.Data32));
        Assert.Equal((ExceptionVector.PageFault, 1u), (vector, code));
    }

    [Theory]
    [InlineData(0x1000u, 1, true)]
    [InlineData(0xFFFu, 1, false)]
    [InlineData(0xFFFFFFFCu, 4, true)]
    [InlineData(0xFFFFFFFDu, 4, false)]
    public void AnExpandDownSegmentIsValidAboveItsLimit(uint offset, int size, bool isValid)
    {
        _g.EnterProtected();
        SegmentLoader.Load(_g.Cpu, Segment.Ds, SegmentGuest.ExpandDown);
        if (isValid)
            Assert.Equal(offset, SegmentChecks.Linear(_g.Cpu, Segment.Ds, offset, size, write: true));
        else
            _g.ExpectFault(ExceptionVector.GeneralProtection, 0, () => SegmentChecks.Linear(_g.Cpu, Segment.Ds, offset, size, write: true));
    }

    [Fact]
    public void A16BitExpandDownSegmentEndsAtFfff()
    {
        _g.EnterProtected();
        _g.Describe(SegmentGuest.Free, 0, 0xFFF, 0x96, 0);
        SegmentLoader.Load(_g.Cpu, Segment.Ds, SegmentGuest.Free);
        Assert.Equal(0xFFFFUL, SegmentChecks.Linear(_g.Cpu, Segment.Ds, 0xFFFF, 1, write: true));
        _g.ExpectFault(ExceptionVector.GeneralProtection, 0, () => SegmentChecks.Linear(_g.Cpu, Segment.Ds, 0x10000, 1, write: true));
    }

    [Fact]
    public void TypesAreEnforcedInProtectedMode()
    {
        _g.EnterProtected();
        _g.ExpectFault(ExceptionVector.GeneralProtection, 0, () => SegmentChecks.Linear(_g.Cpu, Segment.Cs, 0, 1, write: true));
        SegmentLoader.Load(_g.Cpu, Segment.Ds, SegmentGuest.ReadOnlyData);
        Assert.Equal(8UL, SegmentChecks.Linear(_g.Cpu, Segment.Ds, 8, 4, write: false));
        _g.ExpectFault(ExceptionVector.GeneralProtection, 0, () => SegmentChecks.Linear(_g.Cpu, Segment.Ds, 8, 4, write: true));
    }

    [Fact]
    public void A64BitReferenceUsesOnlyTheBasesOfFsAndGs()
    {
        _g.EnterLong();
        _g.State->Ds.Base = 0x1000;
        _g.State->Fs.Base = 0xFFFF_8000_0000_0000;
        Assert.Equal(0x10UL, SegmentChecks.Linear(_g.Cpu, Segment.Ds, 0x10, 8, write: true));
        Assert.Equal(0xFFFF_8000_0000_0010UL, SegmentChecks.Linear(_g.Cpu, Segment.Fs, 0x10, 8, write: true));
    }

    [Fact]
    public void ANonCanonicalStackReferenceIsAStackFault()
    {
        _g.EnterLong();
        const ulong NonCanonical = 0x0000_8000_0000_0000;
        _g.ExpectFault(ExceptionVector.StackFault, 0, () => SegmentChecks.Linear(_g.Cpu, Segment.Ss, NonCanonical, 8, write: true));
        _g.ExpectFault(ExceptionVector.GeneralProtection, 0, () => SegmentChecks.Linear(_g.Cpu, Segment.Ds, NonCanonical, 8, write: true));
        _g.ExpectFault(ExceptionVector.GeneralProtection, 0, () => SegmentChecks.Linear(_g.Cpu, Segment.Ds, NonCanonical - 4, 8, write: true));
        _g.Rsp = NonCanonical + 0x100;
        _g.ExpectFault(ExceptionVector.StackFault, 0, () => StackFrame.Current(_g.Cpu).Push(8, 1));
    }
}
