using Doppel.Machine.Cpu;
using Doppel.Machine.Cpu.Segments;

namespace Doppel.Machine.Tests.Segments;

public sealed unsafe class FlagInstructionTests : IDisposable
{
    private const ulong Iopl1 = 1 << 12;
    private readonly SegmentGuest _g = new();

    public void Dispose() => _g.Dispose();

    [Fact]
    public void PopfAtPrivilege0LoadsIoplAndIfAndClearsRf()
    {
        _g.EnterProtected();
        _g.State->Flags = CpuFlags.Fixed | CpuFlags.Rf | CpuFlags.Vip;
        FlagInstructions.Popf(_g.Cpu, CpuFlags.All & ~CpuFlags.Vip, 4);
        Assert.Equal(CpuFlags.Fixed | (CpuFlags.All & ~(CpuFlags.Rf | CpuFlags.Vm | CpuFlags.Vif)), _g.State->Flags);
    }

    [Fact]
    public void PopfAboveIoplLeavesIoplAndIfAloneWithoutAFault()
    {
        _g.EnterProtected(3);
        _g.State->Flags = CpuFlags.Fixed | CpuFlags.If | Iopl1;
        FlagInstructions.Popf(_g.Cpu, CpuFlags.Iopl | CpuFlags.Cf, 4);
        Assert.Equal(CpuFlags.Fixed | CpuFlags.If | Iopl1 | CpuFlags.Cf, _g.State->Flags);
        _g.State->Flags = CpuFlags.Fixed | CpuFlags.If | CpuFlags.Iopl;
        FlagInstructions.Popf(_g.Cpu, 0, 4);
        Assert.Equal(CpuFlags.Fixed | CpuFlags.Iopl, _g.State->Flags);
    }

    [Fact]
    public void A16BitPopfLeavesTheUpperFlags()
    {
        _g.EnterProtected();
        _g.State->Flags = CpuFlags.Fixed | CpuFlags.Ac | CpuFlags.Id;
        FlagInstructions.Popf(_g.Cpu, CpuFlags.Nt, 2);
        Assert.Equal(CpuFlags.Fixed | CpuFlags.Ac | CpuFlags.Id | CpuFlags.Nt, _g.State->Flags);
    }

    [Fact]
    public void PopfOfAcTakesEffectOnTheNextAccess()
    {
        _g.EnterProtected(3);
        _g.State->Cr0 |= Cr0.Am;
        FlagInstructions.Popf(_g.Cpu, CpuFlags.Ac, 4);
        _g.ExpectFault(ExceptionVector.AlignmentCheck, 0, () => _g.Cpu.Linear.Read<uint>(0x9001));
        FlagInstructions.Popf(_g.Cpu, 0, 4);
        Assert.Equal(0u, _g.Cpu.Linear.Read<uint>(0x9001));
    }

    [Fact]
    public void PushfHidesVmAndRf()
    {
        _g.EnterVirtual(iopl: 3);
        _g.State->Flags |= CpuFlags.Rf;
        Assert.Equal(CpuFlags.Fixed | CpuFlags.If | CpuFlags.Iopl, FlagInstructions.Pushf(_g.Cpu, 4));
    }

    [Fact]
    public void Virtual8086ModeBelowIopl3FaultsWithoutVme()
    {
        _g.EnterVirtual(iopl: 2);
        _g.ExpectFault(ExceptionVector.GeneralProtection, 0, () => FlagInstructions.Pushf(_g.Cpu, 2));
        _g.ExpectFault(ExceptionVector.GeneralProtection, 0, () => FlagInstructions.Popf(_g.Cpu, 0, 2));
        _g.ExpectFault(ExceptionVector.GeneralProtection, 0, () => FlagInstructions.Cli(_g.Cpu));
        _g.ExpectFault(ExceptionVector.GeneralProtection, 0, () => FlagInstructions.Sti(_g.Cpu));
    }

    [Fact]
    public void UnderVmeIfIsVif()
    {
        _g.EnterVirtual(iopl: 0);
        _g.State->Cr4 |= Cr4.Vme;
        Assert.Equal(CpuFlags.Fixed | CpuFlags.Iopl, FlagInstructions.Pushf(_g.Cpu, 2));
        FlagInstructions.Sti(_g.Cpu);
        Assert.Equal(CpuFlags.Fixed | CpuFlags.Iopl | CpuFlags.If | CpuFlags.Vif, FlagInstructions.Pushf(_g.Cpu, 2));
        FlagInstructions.Cli(_g.Cpu);
        Assert.Equal(0UL, _g.State->Flags & CpuFlags.Vif);
        FlagInstructions.Popf(_g.Cpu, CpuFlags.If, 2);
        Assert.Equal(CpuFlags.Vif | CpuFlags.If, _g.State->Flags & (CpuFlags.Vif | CpuFlags.If | CpuFlags.Iopl));
        _g.ExpectFault(ExceptionVector.GeneralProtection, 0, () => FlagInstructions.Popf(_g.Cpu, CpuFlags.Tf, 2));
        _g.ExpectFault(ExceptionVector.GeneralProtection, 0, () => FlagInstructions.Pushf(_g.Cpu, 4));
        _g.State->Flags |= CpuFlags.Vip;
        _g.ExpectFault(ExceptionVector.GeneralProtection, 0, () => FlagInstructions.Popf(_g.Cpu, CpuFlags.If, 2));
        _g.ExpectFault(ExceptionVector.GeneralProtection, 0, () => FlagInstructions.Sti(_g.Cpu));
    }

    [Fact]
    public void PviVirtualisesOnlyCliAndSti()
    {
        _g.EnterProtected(3);
        _g.State->Flags = CpuFlags.Fixed | CpuFlags.If;
        _g.ExpectFault(ExceptionVector.GeneralProtection, 0, () => FlagInstructions.Sti(_g.Cpu));
        _g.State->Cr4 |= Cr4.Pvi;
        FlagInstructions.Sti(_g.Cpu);
        Assert.Equal(CpuFlags.Fixed | CpuFlags.If | CpuFlags.Vif, _g.State->Flags);
        FlagInstructions.Cli(_g.Cpu);
        Assert.Equal(CpuFlags.Fixed | CpuFlags.If, _g.State->Flags);
        FlagInstructions.Popf(_g.Cpu, 0, 4);
        Assert.Equal(CpuFlags.Fixed | CpuFlags.If, _g.State->Flags);
    }

    [Fact]
    public void StiShadowsOneInstructionAndASecondStiDoesNotExtendIt()
    {
        _g.EnterProtected();
        FlagInstructions.Sti(_g.Cpu);
        Assert.Equal(InterruptShadow.Sti, _g.State->Shadow);
        _g.State->Shadow = InterruptShadow.None;
        FlagInstructions.Sti(_g.Cpu);
        Assert.Equal(InterruptShadow.None, _g.State->Shadow);
    }
}
