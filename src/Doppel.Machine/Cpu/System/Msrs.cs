using Doppel.Machine.Cpu.Mmu;
using Doppel.Machine.Cpu.Models;

namespace Doppel.Machine.Cpu.System;

/// <summary>
/// RDMSR and WRMSR (Intel SDM vol. 4). An MSR that does not exist, a reserved bit and a privilege other than ring 0 give
/// #GP, with nothing changed. Belongs to the vCPU's thread.
/// </summary>
public static unsafe class Msrs
{
    /// <summary>Machine check banks; they never report an error.</summary>
    public const int MachineCheckBanks = 4;

    private const ulong ValidMcgStatus = 7;
    // Branch trace and precise sampling are unavailable.
    private const ulong MiscEnableFixed = (1 << 11) | (1 << 12);

    // Kept as written, with no effect: fast strings, thermal control, SpeedStep, MONITOR, CPUID limit, xTPR, XD disable, turbo.
    private const ulong MiscEnableWritable =
        (1 << 0) | (1 << 3) | (1 << 16) | (1 << 18) | (1 << 22) | (1 << 23) | (1UL << 34) | (1UL << 38);

    // Read-only, writes of either value are ignored: performance monitoring and what MiscEnableFixed has.
    private const ulong MiscEnableIgnored = MiscEnableFixed | (1 << 7);

    private const ulong MicrocodeRevision = 1UL << 32;
    private const ulong FeatureControlLocked = 1;
    private const ulong SpecCtrlKnown = 3;
    private const ulong PredCmdKnown = 1;

    // Last branch records and branch stepping may be asked for, but are not there: the bits read as zero.
    private const ulong DebugCtlIgnored = 3;

    /// <summary>RDMSR.</summary>
    public static ulong Read(VirtualCpu cpu, uint index)
    {
        ControlRegisters.RequireRing0(cpu);
        return TryRead(cpu, index, out ulong value) ? value : throw cpu.GeneralProtection();
    }

    /// <summary>WRMSR.</summary>
    public static void Write(VirtualCpu cpu, uint index, ulong value)
    {
        ControlRegisters.RequireRing0(cpu);
        if (!TryWrite(cpu, index, value))
            throw cpu.GeneralProtection();
    }

    /// <summary>RDMSR at any privilege and without a fault, for debuggers and loaders; false where RDMSR raises #GP.</summary>
    public static bool TryRead(VirtualCpu cpu, uint index, out ulong value)
    {
        CpuState* s = cpu.State;
        CpuModel model = cpu.Model;
        value = 0;
        switch (index)
        {
            case MsrIndex.Tsc:
                value = TimeStampCounter.Read(cpu);
                return true;
            case MsrIndex.PlatformId or MsrIndex.PowerOn or MsrIndex.PerfStatus:
                return true;
            case MsrIndex.ApicBase:
                value = cpu.Apic.ApicBase;
                return true;
            case MsrIndex.FeatureControl:
                value = FeatureControlLocked;
                return true;
            case MsrIndex.TscAdjust:
                value = s->TscAdjust;
                return model.Has(CpuFeature.TscAdjust);
            case MsrIndex.SpecCtrl:
                value = s->SpecCtrl;
                return model.Has(CpuFeature.SpecCtrl);
            case MsrIndex.MicrocodeRevision:
                value = MicrocodeRevision;
                return true;
            case MsrIndex.PlatformInfo:
                value = (cpu.Clock.TscFrequency / 100_000_000) << 8;
                return true;
            case MsrIndex.ArchCapabilities:
                value = ArchCapabilities.Value;
                return model.Has(CpuFeature.ArchCapabilities);
            case MsrIndex.SysenterCs:
                value = s->SysenterCs;
                return true;
            case MsrIndex.SysenterEsp:
                value = s->SysenterEsp;
                return true;
            case MsrIndex.SysenterEip:
                value = s->SysenterEip;
                return true;
            case MsrIndex.McgCap:
                value = MachineCheckBanks;
                return true;
            case MsrIndex.McgStatus:
                value = s->McgStatus;
                return true;
            case MsrIndex.MiscEnable:
                value = s->MiscEnable | MiscEnableFixed;
                return true;
            case MsrIndex.DebugCtl or (>= MsrIndex.LastBranchFrom and <= MsrIndex.LastInterruptTo):
                return true;
            case MsrIndex.Pat:
                value = s->Pat;
                return true;
            case >= MsrIndex.Mc0Ctl and <= MsrIndex.Mc3Misc:
                value = ReadMachineCheck(s, index);
                return true;
            case MsrIndex.TscDeadline:
                value = cpu.Apic.TscDeadline;
                return model.Has(CpuFeature.TscDeadline);
            case >= MsrIndex.X2ApicFirst and <= MsrIndex.X2ApicLast:
                return cpu.Apic.TryReadMsr(index, out value);
            case MsrIndex.Xss:
                value = s->Xss;
                return model.Has(CpuFeature.Xsaves);
            case MsrIndex.Efer:
                value = s->Efer;
                return true;
            case MsrIndex.Star:
                value = s->Star;
                return true;
            case MsrIndex.Lstar:
                value = s->Lstar;
                return true;
            case MsrIndex.Cstar:
                value = s->Cstar;
                return true;
            case MsrIndex.SyscallMask:
                value = s->SyscallMask;
                return true;
            case MsrIndex.FsBase:
                value = s->Fs.Base;
                return true;
            case MsrIndex.GsBase:
                value = s->Gs.Base;
                return true;
            case MsrIndex.KernelGsBase:
                value = s->KernelGsBase;
                return true;
            case MsrIndex.TscAux:
                value = s->TscAux;
                return model.Has(CpuFeature.Rdtscp) || model.Has(CpuFeature.Rdpid);
            default:
                return Mtrr.TryRead(cpu, index, out value);
        }
    }

    /// <summary>WRMSR at any privilege and without a fault, for loaders; false, with nothing changed, where WRMSR raises #GP.</summary>
    public static bool TryWrite(VirtualCpu cpu, uint index, ulong value)
    {
        CpuState* s = cpu.State;
        CpuModel model = cpu.Model;
        switch (index)
        {
            case MsrIndex.Tsc:
                TimeStampCounter.Write(cpu, value);
                return true;
            case MsrIndex.ApicBase:
                return WriteApicBase(cpu, value);
            case MsrIndex.TscAdjust when model.Has(CpuFeature.TscAdjust):
                TimeStampCounter.WriteAdjust(cpu, value);
                return true;
            case MsrIndex.SpecCtrl when model.Has(CpuFeature.SpecCtrl):
                return Store(ref s->SpecCtrl, value, SpecCtrlKnown);
            case MsrIndex.PredCmd when model.Has(CpuFeature.SpecCtrl):
                return (value & ~PredCmdKnown) == 0;
            case MsrIndex.MicrocodeUpdate or MsrIndex.MicrocodeRevision:
                return true;
            case MsrIndex.SysenterCs:
                s->SysenterCs = value;
                return true;
            case MsrIndex.SysenterEsp:
                return StoreAddress(ref s->SysenterEsp, value);
            case MsrIndex.SysenterEip:
                return StoreAddress(ref s->SysenterEip, value);
            case MsrIndex.McgStatus:
                return Store(ref s->McgStatus, value, ValidMcgStatus);
            case MsrIndex.MiscEnable:
                return Store(ref s->MiscEnable, value & ~MiscEnableIgnored, MiscEnableWritable);
            case MsrIndex.DebugCtl:
                return (value & ~DebugCtlIgnored) == 0;
            case MsrIndex.Pat:
                return WritePat(s, value);
            case >= MsrIndex.Mc0Ctl and <= MsrIndex.Mc3Misc:
                return WriteMachineCheck(s, index, value);
            case MsrIndex.TscDeadline when model.Has(CpuFeature.TscDeadline):
                cpu.Apic.TscDeadline = value;
                return true;
            case >= MsrIndex.X2ApicFirst and <= MsrIndex.X2ApicLast:
                return cpu.Apic.TryWriteMsr(index, value);
            case MsrIndex.Xss when model.Has(CpuFeature.Xsaves):
                // No supervisor state component exists.
                return Store(ref s->Xss, value, 0);
            case MsrIndex.Efer:
                return WriteEfer(cpu, value);
            case MsrIndex.Star:
                s->Star = value;
                return true;
            case MsrIndex.Lstar:
                return StoreAddress(ref s->Lstar, value);
            case MsrIndex.Cstar:
                return StoreAddress(ref s->Cstar, value);
            case MsrIndex.SyscallMask:
                s->SyscallMask = (uint)value;
                return true;
            case MsrIndex.FsBase:
                return StoreAddress(ref s->Fs.Base, value);
            case MsrIndex.GsBase:
                return StoreAddress(ref s->Gs.Base, value);
            case MsrIndex.KernelGsBase:
                return StoreAddress(ref s->KernelGsBase, value);
            case MsrIndex.TscAux when model.Has(CpuFeature.Rdtscp) || model.Has(CpuFeature.Rdpid):
                return Store(ref s->TscAux, value, uint.MaxValue);
            default:
                return Mtrr.TryWrite(cpu, index, value);
        }
    }

    private static ulong ReadMachineCheck(CpuState* s, uint index)
    {
        int bank = (int)(index - MsrIndex.Mc0Ctl) >> 2;
        return (index & 3) switch
        {
            0 => s->MachineCheckControl[bank],
            2 => s->MachineCheckAddress[bank],
            3 => s->MachineCheckMisc[bank],
            _ => 0,
        };
    }

    // A control register takes all ones or all zeros, a status register only zero; address and miscellaneous keep what
    // is written (AMD APM vol. 2, 9.3.2).
    private static bool WriteMachineCheck(CpuState* s, uint index, ulong value)
    {
        int bank = (int)(index - MsrIndex.Mc0Ctl) >> 2;
        switch (index & 3)
        {
            case 0:
                if (value + 1 > 1)
                    return false;
                s->MachineCheckControl[bank] = value;
                return true;
            case 1:
                return value == 0;
            case 2:
                s->MachineCheckAddress[bank] = value;
                return true;
            default:
                s->MachineCheckMisc[bank] = value;
                return true;
        }
    }

    private static bool Store(ref ulong register, ulong value, ulong known)
    {
        if ((value & ~known) != 0)
            return false;
        register = value;
        return true;
    }

    private static bool StoreAddress(ref ulong register, ulong value)
    {
        if (!LinearMemory.IsCanonical(value))
            return false;
        register = value;
        return true;
    }

    private static bool WriteApicBase(VirtualCpu cpu, ulong value)
    {
        const ulong X2ApicEnable = 1 << 10;
        if ((value >> cpu.Model.PhysicalAddressBits) != 0)
            return false;
        if ((value & X2ApicEnable) != 0 && !cpu.Model.Has(CpuFeature.X2Apic))
            return false;
        return cpu.Apic.TryWriteApicBase(value);
    }

    private static bool WritePat(CpuState* s, ulong value)
    {
        if (!IsPat(value))
            return false;
        s->Pat = value;
        return true;
    }

    /// <summary>Whether IA32_PAT can hold a value: eight memory types.</summary>
    internal static bool IsPat(ulong value)
    {
        for (int i = 0; i < 8; i++)
        {
            if ((byte)(value >> (8 * i)) is not (0 or 1 or 4 or 5 or 6 or 7))
                return false;
        }

        return true;
    }

    /// <summary>The bits of IA32_EFER that a model has, LMA among them.</summary>
    internal static ulong EferMask(CpuModel model)
    {
        ulong known = Efer.Lma;
        if (model.Has(CpuFeature.Syscall))
            known |= Efer.Sce;
        if (model.Has(CpuFeature.Lm))
            known |= Efer.Lme;
        if (model.Has(CpuFeature.Nx))
            known |= Efer.Nxe;
        return known;
    }

    // LMA follows CR0.PG and LME; a write leaves it alone (Intel SDM vol. 3, 2.2.1).
    private static bool WriteEfer(VirtualCpu cpu, ulong value)
    {
        CpuState* s = cpu.State;
        ulong changed = value ^ s->Efer;
        if ((value & ~EferMask(cpu.Model)) != 0 || ((changed & Efer.Lme) != 0 && (s->Cr0 & Cr0.Pg) != 0))
            return false;
        s->Efer = (value & ~Efer.Lma) | (s->Efer & Efer.Lma);
        // Cached rights contain NXE.
        if ((changed & Efer.Nxe) != 0)
            cpu.Tlb.FlushAll();
        cpu.ModeChanged();
        return true;
    }
}
