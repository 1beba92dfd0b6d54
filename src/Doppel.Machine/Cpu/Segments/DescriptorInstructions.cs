using Doppel.Machine.Cpu.Mmu;

namespace Doppel.Machine.Cpu.Segments;

/// <summary>
/// LAR, LSL, VERR, VERW, ARPL, and the instructions that store or load table registers (Intel SDM vol. 2). The caller
/// moves operands and sets ZF from the results.
/// </summary>
public static unsafe class DescriptorInstructions
{
    // Bit n: type n is a valid system descriptor for the instruction.
    private const int LarTypes = (1 << 1) | (1 << 2) | (1 << 3) | (1 << 4) | (1 << 5) | (1 << 9) | (1 << 11) | (1 << 12);
    private const int LarLongTypes = (1 << 2) | (1 << 9) | (1 << 11) | (1 << 12);
    private const int LslTypes = (1 << 1) | (1 << 2) | (1 << 3) | (1 << 9) | (1 << 11);
    private const int LslLongTypes = (1 << 2) | (1 << 9) | (1 << 11);

    /// <summary>LAR: the second doubleword of a descriptor, masked by 00F0FF00h. Throws #UD outside protected mode, #PF.</summary>
    /// <returns>ZF; the destination changes only when it is true.</returns>
    public static bool Lar(VirtualCpu cpu, ushort selector, out uint rights)
    {
        bool isVisible = TryInspect(cpu, selector, LarTypes, LarLongTypes, out SegmentDescriptor descriptor);
        rights = isVisible ? (uint)(descriptor.Low >> 32) & 0x00F0FF00 : 0;
        return isVisible;
    }

    /// <summary>LSL: the limit in bytes. Throws #UD outside protected mode, #PF.</summary>
    /// <returns>ZF; the destination changes only when it is true.</returns>
    public static bool Lsl(VirtualCpu cpu, ushort selector, out uint limit)
    {
        bool isVisible = TryInspect(cpu, selector, LslTypes, LslLongTypes, out SegmentDescriptor descriptor);
        limit = isVisible ? descriptor.Limit : 0;
        return isVisible;
    }

    /// <summary>VERR. Throws #UD outside protected mode, #PF.</summary>
    /// <returns>ZF: the segment can be read at the current privilege.</returns>
    public static bool Verr(VirtualCpu cpu, ushort selector) =>
        TryInspect(cpu, selector, 0, 0, out SegmentDescriptor descriptor) && SegmentLoader.IsReadable(descriptor);

    /// <summary>VERW. Throws #UD outside protected mode, #PF.</summary>
    /// <returns>ZF: the segment can be written at the current privilege.</returns>
    public static bool Verw(VirtualCpu cpu, ushort selector) =>
        TryInspect(cpu, selector, 0, 0, out SegmentDescriptor descriptor) && descriptor.IsWritableData;

    /// <summary>ARPL: raises the RPL of <paramref name="destination"/> to that of <paramref name="source"/>. Throws #UD outside protected mode.</summary>
    /// <returns>ZF: the destination has changed.</returns>
    public static bool Arpl(VirtualCpu cpu, ref ushort destination, ushort source)
    {
        RequireProtected(cpu);
        if ((destination & 3) >= (source & 3))
            return false;
        destination = (ushort)((destination & ~3) | (source & 3));
        return true;
    }

    /// <summary>SLDT. Throws #UD outside protected mode, #GP(0) under UMIP.</summary>
    public static ushort Sldt(VirtualCpu cpu)
    {
        RequireProtected(cpu);
        CheckUmip(cpu);
        return cpu.State->Ldtr.Selector;
    }

    /// <summary>STR. Throws #UD outside protected mode, #GP(0) under UMIP.</summary>
    public static ushort Str(VirtualCpu cpu)
    {
        RequireProtected(cpu);
        CheckUmip(cpu);
        return cpu.State->Tr.Selector;
    }

    /// <summary>SMSW: all of CR0; the caller cuts it to the operand. Throws #GP(0) under UMIP.</summary>
    public static ulong Smsw(VirtualCpu cpu)
    {
        CheckUmip(cpu);
        return cpu.State->Cr0;
    }

    /// <summary>SGDT: the caller stores the limit (2 bytes) and then the base (8 bytes in 64-bit mode, else 4). Throws #GP(0) under UMIP.</summary>
    public static DescriptorTableRegister Sgdt(VirtualCpu cpu)
    {
        CheckUmip(cpu);
        return cpu.State->Gdtr;
    }

    /// <summary>SIDT: as <see cref="Sgdt"/>.</summary>
    public static DescriptorTableRegister Sidt(VirtualCpu cpu)
    {
        CheckUmip(cpu);
        return cpu.State->Idtr;
    }

    /// <summary>LGDT from a linear address. Throws #GP(0) above privilege 0 or for a non-canonical base, #PF.</summary>
    /// <param name="cpu">The vCPU.</param>
    /// <param name="linear">Linear address of the operand, already checked against its segment.</param>
    /// <param name="operandSize">8 in 64-bit mode; else 4, or 2 for a base of 24 bits.</param>
    public static void Lgdt(VirtualCpu cpu, ulong linear, int operandSize) => cpu.State->Gdtr = ReadTableRegister(cpu, linear, operandSize);

    /// <summary>LIDT: as <see cref="Lgdt"/>.</summary>
    public static void Lidt(VirtualCpu cpu, ulong linear, int operandSize) => cpu.State->Idtr = ReadTableRegister(cpu, linear, operandSize);

    // CR4.UMIP keeps SGDT, SIDT, SLDT, SMSW and STR from programs above privilege 0.
    private static void CheckUmip(VirtualCpu cpu)
    {
        if (cpu.State->Cpl > 0 && (cpu.State->Cr4 & Cr4.Umip) != 0)
            throw cpu.GeneralProtection();
    }

    private static DescriptorTableRegister ReadTableRegister(VirtualCpu cpu, ulong linear, int operandSize)
    {
        if (cpu.State->Cpl != 0)
            throw cpu.GeneralProtection();
        ulong mask = cpu.State->IsLongMode ? ulong.MaxValue : 0xFFFFFFFF;
        uint limit = cpu.Linear.Read<ushort>(linear & mask);
        ulong address = (linear + 2) & mask;
        ulong tableBase = operandSize == 8 ? cpu.Linear.Read<ulong>(address) : cpu.Linear.Read<uint>(address);
        if (operandSize == 2)
            tableBase &= 0xFFFFFF;
        if (!LinearMemory.IsCanonical(tableBase))
            throw cpu.GeneralProtection();
        return new DescriptorTableRegister { Base = tableBase, Limit = limit };
    }

    private static bool TryInspect(VirtualCpu cpu, ushort selector, int types, int longTypes, out SegmentDescriptor descriptor)
    {
        RequireProtected(cpu);
        descriptor = default;
        if ((selector & DescriptorTables.ErrorMask) == 0 || !DescriptorTables.TryRead(cpu, selector, out descriptor))
            return false;
        if (descriptor.IsConforming)
            return true;
        if (!descriptor.IsCodeOrData)
        {
            int allowed = cpu.State->IsLongMode ? longTypes : types;
            if (((allowed >> (int)descriptor.SystemType) & 1) == 0)
                return false;
        }

        return descriptor.Dpl >= Math.Max(cpu.State->Cpl, selector & 3);
    }

    /// <summary>#UD in real and virtual-8086 mode; comes before any fault of the operand.</summary>
    internal static void RequireProtected(VirtualCpu cpu)
    {
        if (cpu.State->IsRealMode || cpu.State->IsVirtual8086)
            throw cpu.InvalidOpcode();
    }
}
