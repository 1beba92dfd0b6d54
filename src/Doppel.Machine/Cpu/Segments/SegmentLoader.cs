namespace Doppel.Machine.Cpu.Segments;

/// <summary>
/// Loads segment registers in every mode (Intel SDM vol. 2, MOV, LLDT, LTR; vol. 3, 5.4 to 5.6). Nothing is changed when
/// a fault is thrown. Methods belong to the vCPU's thread.
/// </summary>
public static unsafe class SegmentLoader
{
    private const SegmentAttributes RealRights =
        SegmentAttributes.Present | SegmentAttributes.CodeOrData | SegmentAttributes.WritableOrReadable | SegmentAttributes.Accessed;

    /// <summary>Loads ES, SS, DS, FS or GS as MOV, POP and LxS do. Throws #GP, #SS, #NP, #PF.</summary>
    public static void Load(VirtualCpu cpu, Segment segment, ushort selector)
    {
        CpuState* s = cpu.State;
        SegmentRegister* register = s->SegmentAt(segment);
        if (s->IsRealMode)
        {
            LoadReal(register, selector);
            return;
        }

        if (s->IsVirtual8086)
        {
            *register = Virtual8086(selector);
            return;
        }

        uint code = selector & DescriptorTables.ErrorMask;
        int rpl = selector & 3;
        if (code == 0)
        {
            if (segment == Segment.Ss && !(s->Is64Bit && s->Cpl < 3 && rpl == s->Cpl))
                throw cpu.GeneralProtection();
            *register = segment == Segment.Ss ? NullStack(selector, s->Cpl) : Null(selector);
            return;
        }

        SegmentDescriptor descriptor = DescriptorTables.Read(cpu, selector);
        if (segment == Segment.Ss)
        {
            if (rpl != s->Cpl || !descriptor.IsWritableData || descriptor.Dpl != s->Cpl)
                throw cpu.GeneralProtection(code);
            if (!descriptor.IsPresent)
                throw cpu.Fault(ExceptionVector.StackFault, code);
        }
        else
        {
            if (!IsReadable(descriptor) || (!descriptor.IsConforming && Math.Max(rpl, s->Cpl) > descriptor.Dpl))
                throw cpu.GeneralProtection(code);
            if (!descriptor.IsPresent)
                throw cpu.Fault(ExceptionVector.SegmentNotPresent, code);
        }

        DescriptorTables.MarkAccessed(cpu, selector, descriptor);
        *register = descriptor.ToRegister(selector);
    }

    /// <summary>LLDT. Throws #UD in real and virtual-8086 mode, #GP, #NP, #PF.</summary>
    public static void LoadLdtr(VirtualCpu cpu, ushort selector)
    {
        CpuState* s = cpu.State;
        RequireProtectedRing0(cpu);
        uint code = selector & DescriptorTables.ErrorMask;
        if (code == 0)
        {
            s->Ldtr = Null(selector);
            return;
        }

        if ((selector & 4) != 0)
            throw cpu.GeneralProtection(code);
        SegmentDescriptor descriptor = DescriptorTables.Read(cpu, selector);
        if (descriptor.IsCodeOrData || descriptor.SystemType != DescriptorType.Ldt)
            throw cpu.GeneralProtection(code);
        if (!descriptor.IsPresent)
            throw cpu.Fault(ExceptionVector.SegmentNotPresent, code);
        if (!Mmu.LinearMemory.IsCanonical(descriptor.Base))
            throw cpu.GeneralProtection(code);
        s->Ldtr = descriptor.ToRegister(selector);
    }

    /// <summary>LTR: loads the task register and marks the TSS busy. Throws #UD in real and virtual-8086 mode, #GP, #NP, #PF.</summary>
    public static void LoadTr(VirtualCpu cpu, ushort selector)
    {
        CpuState* s = cpu.State;
        RequireProtectedRing0(cpu);
        uint code = selector & DescriptorTables.ErrorMask;
        if (code == 0)
            throw cpu.GeneralProtection();
        if ((selector & 4) != 0)
            throw cpu.GeneralProtection(code);
        SegmentDescriptor descriptor = DescriptorTables.Read(cpu, selector);
        bool isAvailable = !descriptor.IsCodeOrData && (descriptor.SystemType == DescriptorType.Tss32Available
            || (descriptor.SystemType == DescriptorType.Tss16Available && !s->IsLongMode));
        if (!isAvailable)
            throw cpu.GeneralProtection(code);
        if (!descriptor.IsPresent)
            throw cpu.Fault(ExceptionVector.SegmentNotPresent, code);
        if (!Mmu.LinearMemory.IsCanonical(descriptor.Base))
            throw cpu.GeneralProtection(code);
        DescriptorTables.SetBusy(cpu, selector, busy: true);
        SegmentRegister register = descriptor.ToRegister(selector);
        register.Attributes |= (SegmentAttributes)2;
        s->Tr = register;
    }

    /// <summary>
    /// Real-mode load: only the base follows the selector. Limit, B and G keep what a protected-mode load left (unreal
    /// mode); the rights become those of writable data at privilege 0.
    /// </summary>
    internal static void LoadReal(SegmentRegister* register, ushort selector)
    {
        register->Selector = selector;
        register->Base = (ulong)selector << 4;
        register->Attributes = (register->Attributes & (SegmentAttributes.Big | SegmentAttributes.Granularity | SegmentAttributes.Available)) | RealRights;
    }

    /// <summary>A segment of virtual-8086 mode: 64 KiB at 16 times the selector, privilege 3.</summary>
    internal static SegmentRegister Virtual8086(ushort selector) => new()
    {
        Selector = selector,
        Base = (ulong)selector << 4,
        Limit = 0xFFFF,
        Attributes = RealRights | SegmentAttributes.DplMask,
    };

    /// <summary>A register that holds a null selector.</summary>
    internal static SegmentRegister Null(ushort selector) => new() { Selector = selector, Attributes = SegmentAttributes.Unusable };

    /// <summary>SS with a null selector, as 64-bit mode allows it below privilege 3.</summary>
    internal static SegmentRegister NullStack(ushort selector, int cpl) => new()
    {
        Selector = selector,
        Attributes = SegmentAttributes.Unusable | (SegmentAttributes)((uint)cpl << 5),
    };

    /// <summary>True for data and for code that may be read.</summary>
    internal static bool IsReadable(SegmentDescriptor descriptor) =>
        descriptor.IsCodeOrData && (!descriptor.IsCode || descriptor.IsReadableCode);

    private static void RequireProtectedRing0(VirtualCpu cpu)
    {
        if (cpu.State->IsRealMode || cpu.State->IsVirtual8086)
            throw cpu.InvalidOpcode();
        if (cpu.State->Cpl != 0)
            throw cpu.GeneralProtection();
    }
}
