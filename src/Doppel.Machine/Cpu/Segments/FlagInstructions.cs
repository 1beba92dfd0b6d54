namespace Doppel.Machine.Cpu.Segments;

/// <summary>POPF, PUSHF, CLI and STI with the rules of IOPL, VME and PVI (Intel SDM vol. 2; vol. 3, 21.3 and 21.4).</summary>
public static unsafe class FlagInstructions
{
    /// <summary>Flags that any program may change with POPF and IRET.</summary>
    internal const ulong Common = CpuFlags.Status | CpuFlags.Tf | CpuFlags.Df | CpuFlags.Nt;

    /// <summary>
    /// Takes a popped value into RFLAGS; bits that the program may not change stay. Throws #GP(0) in virtual-8086 mode,
    /// with nothing changed: the caller moves RSP afterwards.
    /// </summary>
    /// <param name="cpu">The vCPU.</param>
    /// <param name="value">The popped value.</param>
    /// <param name="operandSize">2, 4 or 8 bytes.</param>
    public static void Popf(VirtualCpu cpu, ulong value, int operandSize)
    {
        CpuState* s = cpu.State;
        ulong mask = Common;
        int iopl = IoplOf(s);
        if (s->IsVirtual8086)
        {
            if (iopl == 3)
                mask |= CpuFlags.If;
            else
                value = VirtualizePopped(cpu, value, operandSize, ref mask);
        }
        else
        {
            if (s->Cpl == 0)
                mask |= CpuFlags.Iopl;
            if (s->Cpl <= iopl)
                mask |= CpuFlags.If;
        }

        if (operandSize != 2)
        {
            mask |= CpuFlags.Ac | CpuFlags.Id | CpuFlags.Rf;
            value &= ~CpuFlags.Rf;
        }

        Write(cpu, value, mask);
    }

    /// <summary>The value that PUSHF pushes; the caller cuts it to the operand size. Throws #GP(0) in virtual-8086 mode.</summary>
    public static ulong Pushf(VirtualCpu cpu, int operandSize)
    {
        CpuState* s = cpu.State;
        ulong flags = s->Flags;
        if (!s->IsVirtual8086 || IoplOf(s) == 3)
            return flags & ~(CpuFlags.Vm | CpuFlags.Rf);
        if (operandSize != 2 || (s->Cr4 & Cr4.Vme) == 0)
            throw cpu.GeneralProtection();
        return VirtualImage(flags);
    }

    /// <summary>CLI. Throws #GP(0).</summary>
    public static void Cli(VirtualCpu cpu)
    {
        CpuState* s = cpu.State;
        if (s->Cpl <= IoplOf(s))
            s->FlagSystem &= ~CpuFlags.If;
        else if (HasVirtualInterrupts(s))
            s->FlagSystem &= ~CpuFlags.Vif;
        else
            throw cpu.GeneralProtection();
    }

    /// <summary>STI; interrupts stay off for one more instruction when they were off. Throws #GP(0).</summary>
    public static void Sti(VirtualCpu cpu)
    {
        CpuState* s = cpu.State;
        if (s->Cpl <= IoplOf(s))
        {
            if ((s->FlagSystem & CpuFlags.If) == 0)
                s->Shadow |= InterruptShadow.Sti;
            s->FlagSystem |= CpuFlags.If;
        }
        else if (HasVirtualInterrupts(s) && (s->FlagSystem & CpuFlags.Vip) == 0)
        {
            s->FlagSystem |= CpuFlags.Vif;
        }
        else
        {
            throw cpu.GeneralProtection();
        }
    }

    /// <summary>RFLAGS.IOPL, 0 to 3.</summary>
    internal static int IoplOf(CpuState* s) => (int)(s->FlagSystem >> 12) & 3;

    /// <summary>Replaces the flags of a mask; reports a change of AC or VM.</summary>
    internal static void Write(VirtualCpu cpu, ulong value, ulong mask)
    {
        CpuState* s = cpu.State;
        ulong old = s->Flags;
        ulong flags = (old & ~mask) | (value & mask);
        s->Flags = flags;
        if (((old ^ flags) & (CpuFlags.Ac | CpuFlags.Vm)) != 0)
            cpu.ModeChanged();
    }

    /// <summary>The flags as a virtual-8086 program under VME sees them: VIF in IF's place, IOPL 3.</summary>
    internal static ulong VirtualImage(ulong flags) =>
        (flags & ~(CpuFlags.If | CpuFlags.Vm | CpuFlags.Rf)) | CpuFlags.Iopl | ((flags & CpuFlags.Vif) != 0 ? CpuFlags.If : 0);

    /// <summary>
    /// POPF and IRET of a virtual-8086 program with IOPL below 3: IF goes to VIF under VME, else #GP(0); also #GP(0) when TF
    /// is popped or an interrupt is pending that would become deliverable.
    /// </summary>
    internal static ulong VirtualizePopped(VirtualCpu cpu, ulong value, int operandSize, ref ulong mask)
    {
        CpuState* s = cpu.State;
        if (operandSize != 2 || (s->Cr4 & Cr4.Vme) == 0)
            throw cpu.GeneralProtection();
        bool enables = (value & CpuFlags.If) != 0;
        if ((value & CpuFlags.Tf) != 0 || (enables && (s->FlagSystem & CpuFlags.Vip) != 0))
            throw cpu.GeneralProtection();
        mask |= CpuFlags.Vif;
        return (value & 0xFFFF) | (enables ? CpuFlags.Vif : 0);
    }

    private static bool HasVirtualInterrupts(CpuState* s) =>
        s->Cpl == 3 && (s->Cr4 & (s->IsVirtual8086 ? Cr4.Vme : Cr4.Pvi)) != 0;
}
