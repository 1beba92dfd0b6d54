using Doppel.Machine.Cpu.Mmu;
using Doppel.Machine.Cpu.Models;
using Doppel.Machine.Memory;

namespace Doppel.Machine.Cpu.System;

/// <summary>
/// The control registers and the instructions that change them or act on the TLB (Intel SDM vol. 3, 2.5 and 4.10). Every
/// method belongs to the vCPU's thread, checks the privilege itself and throws before it changes anything.
/// </summary>
public static unsafe class ControlRegisters
{
    private const ulong Cr0Writable =
        Cr0.Pe | Cr0.Mp | Cr0.Em | Cr0.Ts | Cr0.Ne | Cr0.Wp | Cr0.Am | Cr0.Nw | Cr0.Cd | Cr0.Pg;

    private const ulong Cr4Base =
        Cr4.Vme | Cr4.Pvi | Cr4.Tsd | Cr4.De | Cr4.Pse | Cr4.Pae | Cr4.Mce | Cr4.Pge | Cr4.Pce | Cr4.Osfxsr | Cr4.Osxmmexcpt;

    private const ulong KeepTlb = 1UL << 63;
    private const ulong PdptePresent = 1;
    private const ulong PdpteReservedLow = 0x1E6;

    /// <summary>MOV from CR0, CR2, CR3, CR4 or CR8. #UD for another, #GP outside ring 0.</summary>
    public static ulong Read(VirtualCpu cpu, int register)
    {
        CpuState* s = cpu.State;
        if (register is not (0 or 2 or 3 or 4 or 8))
            throw cpu.InvalidOpcode();
        RequireRing0(cpu);
        return register switch
        {
            0 => s->Cr0,
            2 => s->Cr2,
            3 => s->Cr3,
            4 => s->Cr4,
            _ => cpu.Apic.Cr8,
        };
    }

    /// <summary>
    /// MOV to CR0, CR2, CR3, CR4 or CR8; outside 64-bit mode the caller zero-extends the operand. #UD for another register,
    /// #GP outside ring 0, for reserved bits and for impossible combinations.
    /// </summary>
    public static void Write(VirtualCpu cpu, int register, ulong value)
    {
        if (register is not (0 or 2 or 3 or 4 or 8))
            throw cpu.InvalidOpcode();
        RequireRing0(cpu);
        switch (register)
        {
            case 0:
                WriteCr0(cpu, value);
                break;
            case 2:
                cpu.State->Cr2 = value;
                break;
            case 3:
                WriteCr3(cpu, value);
                break;
            case 4:
                WriteCr4(cpu, value);
                break;
            default:
                if (value > 15)
                    throw cpu.GeneralProtection();
                cpu.Apic.Cr8 = (byte)value;
                break;
        }
    }

    /// <summary>
    /// The part of MOV to CR3 that a task switch makes too: loads the PDPTEs where PAE paging needs them and flushes what is
    /// not global. #GP as MOV to CR3, but without a check of the privilege.
    /// </summary>
    public static void WriteCr3(VirtualCpu cpu, ulong value)
    {
        CpuState* s = cpu.State;
        bool hasPcid = (s->Cr4 & Cr4.Pcide) != 0;
        bool keep = hasPcid && (value & KeepTlb) != 0;
        if (hasPcid)
            value &= ~KeepTlb;
        if (s->IsLongMode && (value >> cpu.Model.PhysicalAddressBits) != 0)
            throw cpu.GeneralProtection();
        if (UsesPdptes(s->Cr0, s->Cr4, s->Efer))
            LoadPdptes(cpu, value);
        s->Cr3 = value;
        cpu.Tlb.SelectAddressSpace(hasPcid ? (int)(value & 0xFFF) : 0, keep);
    }

    /// <summary>LMSW: the low four bits of CR0; PE can be set but not cleared.</summary>
    public static void Lmsw(VirtualCpu cpu, ushort value)
    {
        RequireRing0(cpu);
        ulong old = cpu.State->Cr0;
        WriteCr0(cpu, (old & ~0xEUL) | (value & 0xFUL));
    }

    /// <summary>CLTS.</summary>
    public static void Clts(VirtualCpu cpu)
    {
        RequireRing0(cpu);
        cpu.State->Cr0 &= ~Cr0.Ts;
        cpu.ModeChanged();
    }

    /// <summary>INVLPG of a linear address; nothing happens for a non-canonical one.</summary>
    public static void Invlpg(VirtualCpu cpu, ulong linear)
    {
        RequireRing0(cpu);
        if (!cpu.State->IsLongMode)
            linear = (uint)linear;
        if (LinearMemory.IsCanonical(linear))
            cpu.Tlb.FlushPage(linear);
    }

    /// <summary>INVPCID (Intel SDM vol. 2): the type from the register, the descriptor from memory.</summary>
    /// <param name="cpu">The vCPU.</param>
    /// <param name="type">0: one address of a PCID; 1: a PCID; 2: everything; 3: everything but global pages.</param>
    /// <param name="descriptorLow">Bits 0 to 63 of the descriptor: the PCID.</param>
    /// <param name="descriptorHigh">Bits 64 to 127: the linear address.</param>
    public static void Invpcid(VirtualCpu cpu, ulong type, ulong descriptorLow, ulong descriptorHigh)
    {
        RequireRing0(cpu);
        if (type > 3 || (descriptorLow >> 12) != 0)
            throw cpu.GeneralProtection();
        int pcid = (int)descriptorLow;
        if (type <= 1 && pcid != 0 && (cpu.State->Cr4 & Cr4.Pcide) == 0)
            throw cpu.GeneralProtection();
        switch (type)
        {
            case 0:
                if (!LinearMemory.IsCanonical(descriptorHigh))
                    throw cpu.GeneralProtection();
                cpu.Tlb.FlushPage(descriptorHigh, pcid);
                break;
            case 1:
                cpu.Tlb.FlushPcid(pcid);
                break;
            case 2:
                cpu.Tlb.FlushAll();
                break;
            default:
                cpu.Tlb.FlushNonGlobal();
                break;
        }
    }

    /// <summary>XSETBV.</summary>
    public static void Xsetbv(VirtualCpu cpu, uint index, ulong value)
    {
        CpuState* s = cpu.State;
        if ((s->Cr4 & Cr4.Osxsave) == 0)
            throw cpu.InvalidOpcode();
        RequireRing0(cpu);
        if (index != 0 || !IsPossibleXcr0(cpu.Model, value))
            throw cpu.GeneralProtection();
        s->Xcr0 = value;
        cpu.ModeChanged();
    }

    /// <summary>XGETBV: XCR0, or with index 1 the components of it that are in use.</summary>
    public static ulong Xgetbv(VirtualCpu cpu, uint index)
    {
        CpuState* s = cpu.State;
        if ((s->Cr4 & Cr4.Osxsave) == 0)
            throw cpu.InvalidOpcode();
        return index switch
        {
            0 => s->Xcr0,
            1 when cpu.Model.Has(CpuFeature.Xgetbv1) => s->Xcr0 & XsaveInstructions.InUse(s),
            _ => throw cpu.GeneralProtection(),
        };
    }

    /// <summary>The bits of CR4 that a model has.</summary>
    public static ulong Cr4Mask(CpuModel model)
    {
        ulong mask = Cr4Base;
        if (model.Has(CpuFeature.Umip))
            mask |= Cr4.Umip;
        if (model.Has(CpuFeature.Fsgsbase))
            mask |= Cr4.Fsgsbase;
        if (model.Has(CpuFeature.Pcid))
            mask |= Cr4.Pcide;
        if (model.Has(CpuFeature.Xsave))
            mask |= Cr4.Osxsave;
        if (model.Has(CpuFeature.Smep))
            mask |= Cr4.Smep;
        if (model.Has(CpuFeature.Smap))
            mask |= Cr4.Smap;
        return mask;
    }

    internal static void RequireRing0(VirtualCpu cpu)
    {
        if (cpu.State->Cpl != 0)
            throw cpu.GeneralProtection();
    }

    /// <summary>The bits of CR0 that can change.</summary>
    internal static ulong Cr0Mask => Cr0Writable;

    /// <summary>False for a value of CR0 that MOV refuses whatever the rest of the state is.</summary>
    internal static bool IsPossibleCr0(ulong value) =>
        (value >> 32) == 0 && (value & (Cr0.Pg | Cr0.Pe)) != Cr0.Pg && (value & (Cr0.Nw | Cr0.Cd)) != Cr0.Nw;

    /// <summary>False for a combination that XSETBV refuses.</summary>
    internal static bool IsPossibleXcr0(CpuModel model, ulong value) =>
        (value & XsaveLayout.X87) != 0 && (value & ~model.SupportedXcr0) == 0 && (value & (XsaveLayout.Sse | XsaveLayout.Avx)) != XsaveLayout.Avx;

    /// <summary>The bits that must be clear in a PDPTE that is present.</summary>
    internal static ulong PdpteReserved(CpuModel model) => PdpteReservedLow | (ulong.MaxValue << model.PhysicalAddressBits);

    private static void WriteCr0(VirtualCpu cpu, ulong value)
    {
        CpuState* s = cpu.State;
        bool isPaging = (value & Cr0.Pg) != 0;
        if (!IsPossibleCr0(value))
            throw cpu.GeneralProtection();
        // Other reserved bits of the low half are ignored; ET is fixed.
        value = (value & Cr0Writable) | Cr0.Et;
        ulong changed = value ^ s->Cr0;
        ulong efer = s->Efer;
        if ((changed & Cr0.Pg) != 0 && isPaging && (efer & Efer.Lme) != 0)
        {
            // Intel SDM vol. 3, 10.8.5 and 10.8.5.1.
            bool isShortTss = s->Tr.IsUsable && (s->Tr.Type & ~2) == 1;
            if ((s->Cr4 & Cr4.Pae) == 0 || s->Cs.Has(SegmentAttributes.Long) || isShortTss)
                throw cpu.GeneralProtection();
            efer |= Efer.Lma;
        }
        else if ((changed & Cr0.Pg) != 0 && !isPaging)
        {
            if (s->Is64Bit || (s->Cr4 & Cr4.Pcide) != 0)
                throw cpu.GeneralProtection();
            efer &= ~Efer.Lma;
        }

        if ((changed & (Cr0.Pg | Cr0.Cd | Cr0.Nw)) != 0 && UsesPdptes(value, s->Cr4, efer))
            LoadPdptes(cpu, s->Cr3);
        s->Cr0 = value;
        s->Efer = efer;
        // Cached rights contain CR0.WP.
        if ((changed & (Cr0.Pg | Cr0.Pe | Cr0.Wp)) != 0)
            cpu.Tlb.FlushAll();
        if ((changed & Cr0.Pg) != 0)
            cpu.Tlb.SelectAddressSpace((s->Cr4 & Cr4.Pcide) != 0 ? (int)(s->Cr3 & 0xFFF) : 0, keep: false);
        cpu.ModeChanged();
    }

    private static void WriteCr4(VirtualCpu cpu, ulong value)
    {
        CpuState* s = cpu.State;
        if ((value & ~Cr4Mask(cpu.Model)) != 0)
            throw cpu.GeneralProtection();
        ulong changed = value ^ s->Cr4;
        if (s->IsLongMode && (value & Cr4.Pae) == 0)
            throw cpu.GeneralProtection();
        if ((changed & value & Cr4.Pcide) != 0 && (!s->IsLongMode || (s->Cr3 & 0xFFF) != 0))
            throw cpu.GeneralProtection();
        if ((changed & (Cr4.Pae | Cr4.Pge | Cr4.Pse | Cr4.Smep)) != 0 && UsesPdptes(s->Cr0, value, s->Efer))
            LoadPdptes(cpu, s->Cr3);
        s->Cr4 = value;
        if ((changed & (Cr4.Pae | Cr4.Pge | Cr4.Pse | Cr4.Smep | Cr4.Smap | Cr4.Pcide)) != 0)
            cpu.Tlb.FlushAll();
        if ((changed & Cr4.Pcide) != 0)
            cpu.Tlb.SelectAddressSpace((value & Cr4.Pcide) != 0 ? (int)(s->Cr3 & 0xFFF) : 0, keep: false);
        cpu.ModeChanged();
    }

    private static bool UsesPdptes(ulong cr0, ulong cr4, ulong efer) =>
        (cr0 & Cr0.Pg) != 0 && (cr4 & Cr4.Pae) != 0 && (efer & Efer.Lma) == 0;

    // All four are checked before any is kept (Intel SDM vol. 3, 4.4.1).
    private static void LoadPdptes(VirtualCpu cpu, ulong cr3)
    {
        PhysicalAddressSpace physical = cpu.Physical;
        ulong reserved = PdpteReserved(cpu.Model);
        ulong* entries = stackalloc ulong[4];
        for (int i = 0; i < 4; i++)
        {
            entries[i] = physical.Read((cr3 & 0xFFFFFFE0) + (uint)(8 * i), 8);
            if ((entries[i] & PdptePresent) != 0 && (entries[i] & reserved) != 0)
                throw cpu.GeneralProtection();
        }

        for (int i = 0; i < 4; i++)
            cpu.State->Pdpte[i] = entries[i];
    }
}
