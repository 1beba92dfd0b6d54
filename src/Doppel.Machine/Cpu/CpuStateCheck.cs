using Doppel.Machine.Cpu.Mmu;
using Doppel.Machine.Cpu.System;

namespace Doppel.Machine.Cpu;

/// <summary>
/// Whether a saved state is one that a processor of a model can be in, as far as the machine relies on it: what a guest's
/// own instructions would be refused, a saved state is refused too.
/// </summary>
internal sealed unsafe class CpuStateCheck(VirtualCpu cpu, string section)
{
    private const ulong MaximumTableLimit = 0xFFFF;
    private const uint SegmentRights = 0x1F0FF;
    private const ulong ControlWordBits = 0x1F7F;
    private const ulong OpcodeBits = 0x7FF;

    /// <exception cref="InvalidDataException">A field is impossible; the message names it.</exception>
    internal void Validate(CpuState* s, ulong flags)
    {
        Bits("RFLAGS", flags, CpuFlags.All | CpuFlags.Fixed);
        Require((flags & CpuFlags.Fixed) != 0, "RFLAGS", flags, "bit 1 is always set");
        Require(s->Cpl <= 3, "CPL", (ulong)s->Cpl, "it must be 0 to 3");
        Bits("interrupt shadow", (ulong)s->Shadow, (ulong)(InterruptShadow.Sti | InterruptShadow.MovSs | InterruptShadow.NmiBlocked));
        Require(s->Activity <= ActivityState.Shutdown, "activity", (ulong)s->Activity, "it must be 0 to 3");
        ControlRegisterValues(s);
        Mode(s);
        Segments(s);
        ModelSpecificRegisters(s);
        MemoryTypes(s);
        Debug(s);
        ExtendedRegisters(s);
    }

    private void ControlRegisterValues(CpuState* s)
    {
        Bits("CR0", s->Cr0, ControlRegisters.Cr0Mask | Cr0.Et);
        Require((s->Cr0 & Cr0.Et) != 0 && ControlRegisters.IsPossibleCr0(s->Cr0), "CR0", s->Cr0, "no instruction leaves this combination");
        Require((s->Cr3 >> cpu.Model.PhysicalAddressBits) == 0, "CR3", s->Cr3, "it lies beyond the model's physical addresses");
        Bits("CR4", s->Cr4, ControlRegisters.Cr4Mask(cpu.Model));
        Bits("EFER", s->Efer, Msrs.EferMask(cpu.Model));
        bool isLong = (s->Efer & Efer.Lme) != 0 && (s->Cr0 & Cr0.Pg) != 0;
        Require(isLong == s->IsLongMode, "EFER", s->Efer, "LMA must be set exactly with LME and CR0.PG");
        Require(!isLong || (s->Cr4 & Cr4.Pae) != 0, "CR4", s->Cr4, "long mode needs PAE");
        Require(isLong || (s->Cr4 & Cr4.Pcide) == 0, "CR4", s->Cr4, "PCIDE needs long mode");
        Require(ControlRegisters.IsPossibleXcr0(cpu.Model, s->Xcr0), "XCR0", s->Xcr0, "the model does not have this combination");
        if ((s->Cr0 & Cr0.Pg) == 0 || (s->Cr4 & Cr4.Pae) == 0 || isLong)
            return;
        for (int i = 0; i < 4; i++)
            Require((s->Pdpte[i] & 1) == 0 || (s->Pdpte[i] & ControlRegisters.PdpteReserved(cpu.Model)) == 0, $"PDPTE {i}", s->Pdpte[i], "reserved bits are set");
    }

    private void Mode(CpuState* s)
    {
        Require(!s->IsVirtual8086 || (!s->IsRealMode && !s->IsLongMode && s->Cpl == 3), "RFLAGS", s->Flags, "VM needs legacy protected mode at CPL 3");
        Require(!s->IsRealMode || s->Cpl == 0, "CPL", (ulong)s->Cpl, "it must be 0 in real mode");
        Require(s->Is64Bit || s->Rip <= uint.MaxValue, "RIP", s->Rip, "it has 32 bits outside 64-bit mode");
    }

    private void Segments(CpuState* s)
    {
        for (Segment segment = Segment.Es; segment <= Segment.Tr; segment++)
        {
            SegmentRegister* register = s->SegmentAt(segment);
            Bits($"rights of {segment}", (ulong)register->Attributes, SegmentRights);
            Canonical($"base of {segment}", register->Base);
        }

        Canonical("base of GDTR", s->Gdtr.Base);
        Canonical("base of IDTR", s->Idtr.Base);
        Bits("limit of GDTR", s->Gdtr.Limit, MaximumTableLimit);
        Bits("limit of IDTR", s->Idtr.Limit, MaximumTableLimit);
    }

    private void ModelSpecificRegisters(CpuState* s)
    {
        Canonical("LSTAR", s->Lstar);
        Canonical("CSTAR", s->Cstar);
        Canonical("KERNEL_GS_BASE", s->KernelGsBase);
        Canonical("SYSENTER_ESP", s->SysenterEsp);
        Canonical("SYSENTER_EIP", s->SysenterEip);
        Bits("FMASK", s->SyscallMask, uint.MaxValue);
        Bits("TSC_AUX", s->TscAux, uint.MaxValue);
        Bits("MISC_ENABLE", s->MiscEnable, 1);
        Bits("XSS", s->Xss, 0);
        Bits("SPEC_CTRL", s->SpecCtrl, 3);
        Bits("DEBUGCTL", s->DebugCtl, 3);
        Bits("MCG_STATUS", s->McgStatus, 7);
    }

    private void MemoryTypes(CpuState* s)
    {
        const string Impossible = "a memory type or a bit does not exist";
        Require(Msrs.IsPat(s->Pat), "PAT", s->Pat, Impossible);
        Require(Mtrr.IsDefType(s->MtrrDefType), "MTRR_DEF_TYPE", s->MtrrDefType, Impossible);
        for (int i = 0; i < 16; i++)
            Require(Mtrr.IsVariable(cpu, i, s->MtrrVariable[i]), $"variable MTRR {i}", s->MtrrVariable[i], Impossible);
        for (int i = 0; i < 11; i++)
            Require(Mtrr.IsFixed(s->MtrrFixed[i]), $"fixed MTRR {i}", s->MtrrFixed[i], Impossible);
    }

    private void Debug(CpuState* s)
    {
        for (int i = 6; i < 8; i++)
            Require(DebugRegisters.WithFixedBits(i, s->Dr[i]) == s->Dr[i], $"DR{i}", s->Dr[i], "its fixed bits are wrong");
    }

    private void ExtendedRegisters(CpuState* s)
    {
        byte* area = s->XsaveArea;
        Bits("FCW", *(ushort*)area, ControlWordBits);
        Bits("FTW", *(ushort*)(area + 4), byte.MaxValue);
        Bits("FOP", *(ushort*)(area + 6), OpcodeBits);
        Bits("MXCSR", s->Mxcsr, ExtendedState.MxcsrMask);
    }

    private void Canonical(string field, ulong value) => Require(LinearMemory.IsCanonical(value), field, value, "it must be canonical");

    private void Bits(string field, ulong value, ulong known) => Require((value & ~known) == 0, field, value, $"only the bits 0x{known:x} exist");

    private void Require(bool isPossible, string field, ulong value, string rule)
    {
        if (!isPossible)
            throw new InvalidDataException($"{section}: {field} is 0x{value:x}; {rule}");
    }
}
