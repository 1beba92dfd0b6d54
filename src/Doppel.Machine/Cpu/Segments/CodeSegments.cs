using Doppel.Machine.Cpu.Mmu;

namespace Doppel.Machine.Cpu.Segments;

/// <summary>The checks on a code segment that control passes to, and the loading of CS (Intel SDM vol. 3, 5.8).</summary>
internal static unsafe class CodeSegments
{
    /// <summary>Reads and checks the target of a direct far jump or call. Throws #GP, #NP, #PF.</summary>
    internal static void CheckDirect(VirtualCpu cpu, ushort selector, SegmentDescriptor descriptor)
    {
        uint code = selector & DescriptorTables.ErrorMask;
        int cpl = cpu.State->Cpl;
        bool isAllowed = descriptor.IsConforming
            ? descriptor.Dpl <= cpl
            : descriptor.IsCode && (selector & 3) <= cpl && descriptor.Dpl == cpl;
        if (!isAllowed)
            throw cpu.GeneralProtection(code);
        CheckForm(cpu, code, descriptor);
    }

    /// <summary>Reads and checks the code segment that RET or IRET goes back to. Throws #GP, #NP, #PF.</summary>
    internal static SegmentDescriptor ReadReturn(VirtualCpu cpu, ushort selector)
    {
        uint code = selector & DescriptorTables.ErrorMask;
        if (code == 0)
            throw cpu.GeneralProtection();
        int rpl = selector & 3;
        SegmentDescriptor descriptor = DescriptorTables.Read(cpu, selector);
        if (!descriptor.IsCode || rpl < cpu.State->Cpl)
            throw cpu.GeneralProtection(code);
        if (descriptor.IsConforming ? descriptor.Dpl > rpl : descriptor.Dpl != rpl)
            throw cpu.GeneralProtection(code);
        CheckForm(cpu, code, descriptor);
        return descriptor;
    }

    /// <summary>
    /// Checks that an instruction pointer is inside its segment, or canonical for 64-bit code. Throws #GP(0).
    /// </summary>
    internal static void CheckOffset(VirtualCpu cpu, SegmentDescriptor descriptor, ulong offset)
    {
        bool isInside = cpu.State->IsLongMode && descriptor.IsLong
            ? LinearMemory.IsCanonical(offset)
            : offset <= descriptor.Limit;
        if (!isInside)
            throw cpu.GeneralProtection();
    }

    /// <summary>
    /// Checks SS for a return to privilege <paramref name="level"/>; a null one may stand below privilege 3 when 64-bit
    /// code is returned to. Throws #GP, #SS, #PF.
    /// </summary>
    internal static SegmentRegister CheckReturnStack(VirtualCpu cpu, ushort selector, int level, SegmentDescriptor code)
    {
        if ((selector & DescriptorTables.ErrorMask) != 0)
            return InnerStack.Check(cpu, selector, level, ExceptionVector.GeneralProtection);
        if (cpu.State->IsLongMode && code.IsLong && level < 3 && (selector & 3) == level)
            return SegmentLoader.NullStack(selector, level);
        throw cpu.GeneralProtection();
    }

    /// <summary>Throws #GP for L and D set together in long mode, #NP for a segment that is not present.</summary>
    internal static void CheckForm(VirtualCpu cpu, uint code, SegmentDescriptor descriptor)
    {
        if (descriptor.IsLong && descriptor.IsBig && cpu.State->IsLongMode)
            throw cpu.GeneralProtection(code);
        if (!descriptor.IsPresent)
            throw cpu.Fault(ExceptionVector.SegmentNotPresent, code);
    }

    /// <summary>
    /// Nulls the data segments that the new, outer privilege may not use: data and non-conforming code whose DPL is below
    /// it (Intel SDM vol. 3, 5.8.6). FS and GS keep their base, which an MSR may have set: 64-bit code goes on using it.
    /// </summary>
    internal static void DropInnerData(CpuState* s)
    {
        DropInner(&s->Es, s->Cpl);
        DropInner(&s->Ds, s->Cpl);
        DropInner(&s->Fs, s->Cpl);
        DropInner(&s->Gs, s->Cpl);
    }

    private static void DropInner(SegmentRegister* register, int cpl)
    {
        const SegmentAttributes Conforming = SegmentAttributes.Code | SegmentAttributes.ExpandDownOrConforming;
        if (register->IsUsable && register->Dpl < cpl && (register->Attributes & Conforming) != Conforming)
        {
            // Unlike a load of a null selector, this leaves the hidden base and limit alone.
            register->Selector = 0;
            register->Attributes |= SegmentAttributes.Unusable;
        }
    }
}
