using Doppel.Machine.Cpu.Mmu;

namespace Doppel.Machine.Cpu.Segments;

/// <summary>
/// SYSCALL, SYSRET, SYSENTER, SYSEXIT and SWAPGS (Intel SDM vol. 2; AMD APM vol. 3). Where the vendors differ,
/// <see cref="Models.CpuModel.IsAmd"/> decides. On entry RIP is the next instruction.
/// </summary>
public static unsafe class SystemCalls
{
    private const SegmentAttributes DataRights = SegmentAttributes.Present | SegmentAttributes.CodeOrData
        | SegmentAttributes.WritableOrReadable | SegmentAttributes.Accessed | SegmentAttributes.Big | SegmentAttributes.Granularity;

    private const SegmentAttributes CodeRights = SegmentAttributes.Present | SegmentAttributes.CodeOrData | SegmentAttributes.Code
        | SegmentAttributes.WritableOrReadable | SegmentAttributes.Accessed | SegmentAttributes.Granularity;

    /// <summary>SYSCALL. Throws #UD when EFER.SCE is clear, and for Intel outside 64-bit mode.</summary>
    public static void Syscall(VirtualCpu cpu)
    {
        CpuState* s = cpu.State;
        if ((s->Efer & Efer.Sce) == 0 || s->IsRealMode)
            throw cpu.InvalidOpcode();
        bool is64 = s->Is64Bit;
        if (!is64 && !cpu.Model.IsAmd)
            throw cpu.InvalidOpcode();
        ushort selector = (ushort)((s->Star >> 32) & 0xFFFC);
        ulong flags = s->Flags;
        if (s->IsLongMode)
        {
            s->Gpr[1] = is64 ? s->Rip : s->Rip & 0xFFFFFFFF;
            s->Gpr[11] = flags & ~CpuFlags.Rf;
            s->Rip = is64 ? s->Lstar : s->Cstar;
            s->Flags = flags & ~(s->SyscallMask | CpuFlags.Rf);
            s->Cs = FlatCode(selector, 0, isLong: true);
        }
        else
        {
            s->Gpr[1] = s->Rip & 0xFFFFFFFF;
            s->Rip = s->Star & 0xFFFFFFFF;
            s->Flags = flags & ~(CpuFlags.If | CpuFlags.Rf | CpuFlags.Vm);
            s->Cs = FlatCode(selector, 0, isLong: false);
        }

        s->Ss = FlatData((ushort)(selector + 8), 0);
        s->Cpl = 0;
        cpu.ModeChanged();
    }

    /// <summary>
    /// SYSRET. Throws #UD when EFER.SCE is clear and for Intel outside 64-bit mode, #GP(0) above privilege 0, and for
    /// Intel when RCX is not canonical; AMD takes that fault at privilege 3, on the first fetch.
    /// </summary>
    /// <param name="cpu">The vCPU.</param>
    /// <param name="operandSize">8 to return to 64-bit code (REX.W), else 4.</param>
    public static void Sysret(VirtualCpu cpu, int operandSize)
    {
        CpuState* s = cpu.State;
        bool isAmd = cpu.Model.IsAmd;
        if ((s->Efer & Efer.Sce) == 0 || s->IsRealMode || (!isAmd && !s->Is64Bit))
            throw cpu.InvalidOpcode();
        if (s->Cpl != 0)
            throw cpu.GeneralProtection();
        bool to64 = operandSize == 8 && s->Is64Bit;
        ulong target = to64 ? s->Gpr[1] : s->Gpr[1] & 0xFFFFFFFF;
        if (to64 && !isAmd && !LinearMemory.IsCanonical(target))
            throw cpu.GeneralProtection();
        ushort selector = (ushort)(s->Star >> 48);
        ulong flags = s->IsLongMode
            ? s->Gpr[11] & (CpuFlags.All & ~(CpuFlags.Rf | CpuFlags.Vm))
            : s->Flags | CpuFlags.If;
        ushort stackSelector = (ushort)((selector + 8) | 3);
        s->Cs = FlatCode((ushort)((to64 ? selector + 16 : selector) | 3), 3, to64);
        if (isAmd)
        {
            // AMD loads only the selector; base, limit and rights stay, except that the privilege is 3 now.
            s->Ss.Selector = stackSelector;
            s->Ss.Attributes |= SegmentAttributes.DplMask;
        }
        else
        {
            s->Ss = FlatData(stackSelector, 3);
        }

        s->Rip = target;
        s->Flags = flags;
        s->Cpl = 3;
        cpu.ModeChanged();
    }

    /// <summary>SYSENTER. Throws #GP(0) in real mode or without IA32_SYSENTER_CS, #UD for AMD in long mode.</summary>
    public static void Sysenter(VirtualCpu cpu)
    {
        CpuState* s = cpu.State;
        CheckSysenter(cpu);
        bool isLong = s->IsLongMode;
        ushort selector = (ushort)(s->SysenterCs & 0xFFFC);
        s->Flags = s->Flags & ~(CpuFlags.Vm | CpuFlags.If);
        s->Cs = FlatCode(selector, 0, isLong);
        s->Ss = FlatData((ushort)(selector + 8), 0);
        s->Gpr[4] = isLong ? s->SysenterEsp : s->SysenterEsp & 0xFFFFFFFF;
        s->Rip = isLong ? s->SysenterEip : s->SysenterEip & 0xFFFFFFFF;
        s->Cpl = 0;
        cpu.ModeChanged();
    }

    /// <summary>
    /// SYSEXIT. Throws #GP(0) in real mode, without IA32_SYSENTER_CS, above privilege 0 or for a non-canonical RCX or RDX,
    /// #UD for AMD in long mode.
    /// </summary>
    /// <param name="cpu">The vCPU.</param>
    /// <param name="operandSize">8 to return to 64-bit code (REX.W), else 4.</param>
    public static void Sysexit(VirtualCpu cpu, int operandSize)
    {
        CpuState* s = cpu.State;
        CheckSysenter(cpu);
        if (s->Cpl != 0)
            throw cpu.GeneralProtection();
        bool to64 = operandSize == 8 && s->Is64Bit;
        if (to64 && !(LinearMemory.IsCanonical(s->Gpr[1]) && LinearMemory.IsCanonical(s->Gpr[2])))
            throw cpu.GeneralProtection();
        ushort selector = (ushort)((s->SysenterCs & 0xFFFC) + (to64 ? 32u : 16u));
        s->Cs = FlatCode((ushort)(selector | 3), 3, to64);
        s->Ss = FlatData((ushort)((selector + 8) | 3), 3);
        s->Gpr[4] = to64 ? s->Gpr[1] : s->Gpr[1] & 0xFFFFFFFF;
        s->Rip = to64 ? s->Gpr[2] : s->Gpr[2] & 0xFFFFFFFF;
        s->Cpl = 3;
        cpu.ModeChanged();
    }

    /// <summary>SWAPGS. Throws #UD outside 64-bit mode, #GP(0) above privilege 0.</summary>
    public static void SwapGs(VirtualCpu cpu)
    {
        CpuState* s = cpu.State;
        if (!s->Is64Bit)
            throw cpu.InvalidOpcode();
        if (s->Cpl != 0)
            throw cpu.GeneralProtection();
        (s->Gs.Base, s->KernelGsBase) = (s->KernelGsBase, s->Gs.Base);
    }

    private static void CheckSysenter(VirtualCpu cpu)
    {
        CpuState* s = cpu.State;
        if (cpu.Model.IsAmd && s->IsLongMode)
            throw cpu.InvalidOpcode();
        if (s->IsRealMode || (s->SysenterCs & 0xFFFC) == 0)
            throw cpu.GeneralProtection();
    }

    /// <summary>A flat code segment as SYSCALL and its kin load it.</summary>
    public static SegmentRegister FlatCode(ushort selector, int level, bool isLong) => new()
    {
        Selector = selector,
        Limit = 0xFFFFFFFF,
        Attributes = CodeRights | (isLong ? SegmentAttributes.Long : SegmentAttributes.Big) | (SegmentAttributes)((uint)level << 5),
    };

    /// <summary>A flat data segment as SYSCALL and its kin load it.</summary>
    public static SegmentRegister FlatData(ushort selector, int level) => new()
    {
        Selector = selector,
        Limit = 0xFFFFFFFF,
        Attributes = DataRights | (SegmentAttributes)((uint)level << 5),
    };
}
