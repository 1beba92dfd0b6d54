using Doppel.Machine.Cpu.Mmu;

namespace Doppel.Machine.Cpu.Segments;

/// <summary>Finds the stack of a more privileged level in the TSS (Intel SDM vol. 3, 5.8.5, 7.2.1 and 6.14.4).</summary>
internal static unsafe class InnerStack
{
    /// <summary>Reads SSn:ESPn from a 16- or 32-bit TSS and checks the segment. Throws #TS, #SS, #PF.</summary>
    internal static SegmentRegister Read(VirtualCpu cpu, int level, out ulong pointer)
    {
        CpuState* s = cpu.State;
        bool is32 = ((int)s->Tr.Attributes & 8) != 0;
        uint offset = is32 ? 4 + (8 * (uint)level) : 2 + (4 * (uint)level);
        uint size = is32 ? 6u : 4u;
        if (!s->Tr.IsUsable || offset + size - 1 > s->Tr.Limit)
            throw cpu.Fault(ExceptionVector.InvalidTss, s->Tr.Selector & DescriptorTables.ErrorMask);
        pointer = cpu.Linear.ReadSystem(s->Tr.Base + offset, is32 ? 4 : 2);
        ushort selector = (ushort)cpu.Linear.ReadSystem(s->Tr.Base + offset + (is32 ? 4u : 2u), 2);
        return Check(cpu, selector, level, ExceptionVector.InvalidTss);
    }

    /// <summary>
    /// Checks a stack segment for a privilege level and marks it accessed. Throws <paramref name="vector"/> (with the
    /// selector, 0 for a null one), #SS, #PF.
    /// </summary>
    internal static SegmentRegister Check(VirtualCpu cpu, ushort selector, int level, ExceptionVector vector)
    {
        uint code = selector & DescriptorTables.ErrorMask;
        if (code == 0)
            throw cpu.Fault(vector);
        SegmentDescriptor descriptor = DescriptorTables.Read(cpu, selector, vector);
        if ((selector & 3) != level || descriptor.Dpl != level || !descriptor.IsWritableData)
            throw cpu.Fault(vector, code);
        if (!descriptor.IsPresent)
            throw cpu.Fault(ExceptionVector.StackFault, code);
        DescriptorTables.MarkAccessed(cpu, selector, descriptor);
        return descriptor.ToRegister(selector);
    }

    /// <summary>Reads RSPn, or an entry of the interrupt stack table when <paramref name="ist"/> is not 0. Throws #TS, #SS, #PF.</summary>
    internal static ulong ReadLong(VirtualCpu cpu, int level, int ist)
    {
        CpuState* s = cpu.State;
        uint offset = ist != 0 ? 0x1C + (8 * (uint)ist) : 4 + (8 * (uint)level);
        if (!s->Tr.IsUsable || offset + 7 > s->Tr.Limit)
            throw cpu.Fault(ExceptionVector.InvalidTss, s->Tr.Selector & DescriptorTables.ErrorMask);
        ulong pointer = cpu.Linear.ReadSystem(s->Tr.Base + offset, 8);
        return LinearMemory.IsCanonical(pointer) ? pointer : throw cpu.Fault(ExceptionVector.StackFault);
    }
}
