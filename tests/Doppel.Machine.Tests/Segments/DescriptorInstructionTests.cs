using Doppel.Machine.Cpu;
using Doppel.Machine.Cpu.Segments;

namespace Doppel.Machine.Tests.Segments;

public sealed unsafe class DescriptorInstructionTests : IDisposable
{
    private readonly SegmentGuest _g = new();

    public void Dispose() => _g.Dispose();

    [Fact]
    public void LarAndLslSeeWhatThePrivilegeAllows()
    {
        _g.EnterProtected(3);
        Assert.True(DescriptorInstructions.Lar(_g.Cpu, SegmentGuest.UserCode32, out uint rights));
        Assert.Equal(0x00C0FA00u, rights);
        Assert.True(DescriptorInstructions.Lsl(_g.Cpu, SegmentGuest.UserData16, out uint limit));
        Assert.Equal(0xFFFFu, limit);
        Assert.True(DescriptorInstructions.Lsl(_g.Cpu, SegmentGuest.UserData32, out limit));
        Assert.Equal(uint.MaxValue, limit);
        Assert.False(DescriptorInstructions.Lar(_g.Cpu, SegmentGuest.Data32, out _));
        Assert.True(DescriptorInstructions.Lar(_g.Cpu, SegmentGuest.Conforming32, out _));
        Assert.False(DescriptorInstructions.Lar(_g.Cpu, 0, out _));
        Assert.False(DescriptorInstructions.Lar(_g.Cpu, 0x1F8, out _));
    }

    [Fact]
    public void LarAdmitsGatesThatLslDoesNot()
    {
        _g.EnterProtected();
        _g.WriteEntry(SegmentGuest.Free, SegmentGuest.Gate(SegmentGuest.Code32, 0, 0x8C));
        Assert.True(DescriptorInstructions.Lar(_g.Cpu, SegmentGuest.Free, out _));
        Assert.False(DescriptorInstructions.Lsl(_g.Cpu, SegmentGuest.Free, out _));
        _g.WriteEntry(SegmentGuest.Free, SegmentGuest.Gate(SegmentGuest.Code32, 0, 0x8E));
        Assert.False(DescriptorInstructions.Lar(_g.Cpu, SegmentGuest.Free, out _));
    }

    [Fact]
    public void VerrAndVerwFollowTypeAndPrivilege()
    {
        _g.EnterProtected(3);
        Assert.True(DescriptorInstructions.Verr(_g.Cpu, SegmentGuest.ReadOnlyUserData));
        Assert.False(DescriptorInstructions.Verw(_g.Cpu, SegmentGuest.ReadOnlyUserData));
        Assert.True(DescriptorInstructions.Verw(_g.Cpu, SegmentGuest.UserData32));
        Assert.False(DescriptorInstructions.Verr(_g.Cpu, SegmentGuest.Data32));
        Assert.True(DescriptorInstructions.Verr(_g.Cpu, SegmentGuest.Conforming32));
        Assert.False(DescriptorInstructions.Verr(_g.Cpu, SegmentGuest.TssSelector));
    }

    [Fact]
    public void ArplRaisesTheRplOnly()
    {
        _g.EnterProtected();
        ushort destination = 0x10;
        Assert.True(DescriptorInstructions.Arpl(_g.Cpu, ref destination, 0x23));
        Assert.Equal(0x13, destination);
        Assert.False(DescriptorInstructions.Arpl(_g.Cpu, ref destination, 0x22));
        Assert.Equal(0x13, destination);
    }

    [Fact]
    public void TheyAreInvalidOpcodesOutsideProtectedMode()
    {
        _g.EnterReal();
        _g.ExpectFault(ExceptionVector.InvalidOpcode, 0, () => DescriptorInstructions.Lar(_g.Cpu, 8, out _));
        _g.ExpectFault(ExceptionVector.InvalidOpcode, 0, () => DescriptorInstructions.Sldt(_g.Cpu));
        _g.EnterVirtual(iopl: 3);
        _g.ExpectFault(ExceptionVector.InvalidOpcode, 0, () => DescriptorInstructions.Verr(_g.Cpu, 8));
        _g.ExpectFault(ExceptionVector.InvalidOpcode, 0, () => DescriptorInstructions.Str(_g.Cpu));
    }

    [Fact]
    public void UmipKeepsTableRegistersFromUserPrograms()
    {
        _g.EnterProtected(3);
        Assert.Equal(SegmentGuest.Gdt, DescriptorInstructions.Sgdt(_g.Cpu).Base);
        Assert.Equal(SegmentGuest.TssSelector, DescriptorInstructions.Str(_g.Cpu));
        _g.State->Cr4 |= Cr4.Umip;
        _g.ExpectFault(ExceptionVector.GeneralProtection, 0, () => DescriptorInstructions.Sgdt(_g.Cpu));
        _g.ExpectFault(ExceptionVector.GeneralProtection, 0, () => DescriptorInstructions.Sidt(_g.Cpu));
        _g.ExpectFault(ExceptionVector.GeneralProtection, 0, () => DescriptorInstructions.Sldt(_g.Cpu));
        _g.ExpectFault(ExceptionVector.GeneralProtection, 0, () => DescriptorInstructions.Str(_g.Cpu));
        _g.ExpectFault(ExceptionVector.GeneralProtection, 0, () => DescriptorInstructions.Smsw(_g.Cpu));
        _g.EnterProtected();
        Assert.Equal(_g.State->Cr0, DescriptorInstructions.Smsw(_g.Cpu));
    }

    [Fact]
    public void LgdtReadsABaseOf24Or32Or64Bits()
    {
        _g.EnterProtected();
        _g.Write16(0x9000, 0x1234);
        _g.Write64(0x9002, 0xFFFF_8000_89AB_CDEF);
        DescriptorInstructions.Lgdt(_g.Cpu, 0x9000, 2);
        Assert.Equal((0xABCDEFUL, 0x1234u), (_g.State->Gdtr.Base, _g.State->Gdtr.Limit));
        DescriptorInstructions.Lidt(_g.Cpu, 0x9000, 4);
        Assert.Equal((0x89ABCDEFUL, 0x1234u), (_g.State->Idtr.Base, _g.State->Idtr.Limit));
        _g.EnterLong();
        DescriptorInstructions.Lgdt(_g.Cpu, 0x9000, 8);
        Assert.Equal(0xFFFF_8000_89AB_CDEFUL, _g.State->Gdtr.Base);
        _g.Write64(0x9002, 0x8000_0000_0000);
        _g.ExpectFault(ExceptionVector.GeneralProtection, 0, () => DescriptorInstructions.Lgdt(_g.Cpu, 0x9000, 8));
        _g.EnterLong(3);
        _g.ExpectFault(ExceptionVector.GeneralProtection, 0, () => DescriptorInstructions.Lidt(_g.Cpu, 0x9000, 8));
    }
}
