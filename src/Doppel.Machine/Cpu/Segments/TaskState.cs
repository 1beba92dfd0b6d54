using System.Runtime.InteropServices;

namespace Doppel.Machine.Cpu.Segments;

/// <summary>
/// The part of a 16- or 32-bit TSS that a task switch loads and saves (Intel SDM vol. 3, 8.2.1 and 8.6).
/// </summary>
[StructLayout(LayoutKind.Sequential)]
internal unsafe struct TaskState
{
    internal ulong Cr3;
    internal ulong Eip;
    internal ulong Flags;
    internal fixed ulong Gpr[8];

    /// <summary>ES, CS, SS, DS, FS, GS.</summary>
    internal fixed ushort Selectors[6];
    internal ushort Ldt;
    internal bool DebugTrap;

    /// <summary>Reads what a switch to this TSS loads. Throws #PF.</summary>
    internal static TaskState Read(VirtualCpu cpu, ulong address, bool is32)
    {
        TaskState state = default;
        Mmu.LinearMemory linear = cpu.Linear;
        if (is32)
        {
            state.Cr3 = linear.ReadSystem(address + 0x1C, 4);
            state.Eip = linear.ReadSystem(address + 0x20, 4);
            state.Flags = linear.ReadSystem(address + 0x24, 4);
            for (uint i = 0; i < 8; i++)
                state.Gpr[i] = linear.ReadSystem(address + 0x28 + (4 * i), 4);
            for (uint i = 0; i < 6; i++)
                state.Selectors[i] = (ushort)linear.ReadSystem(address + 0x48 + (4 * i), 2);
            state.Ldt = (ushort)linear.ReadSystem(address + 0x60, 2);
            state.DebugTrap = (linear.ReadSystem(address + 0x64, 2) & 1) != 0;
            return state;
        }

        state.Eip = linear.ReadSystem(address + 0x0E, 2);
        state.Flags = linear.ReadSystem(address + 0x10, 2);
        // The upper halves of the general registers are undefined after a switch to a 16-bit task; all ones, as on a 386.
        for (uint i = 0; i < 8; i++)
            state.Gpr[i] = 0xFFFF0000 | linear.ReadSystem(address + 0x12 + (2 * i), 2);
        for (uint i = 0; i < 4; i++)
            state.Selectors[i] = (ushort)linear.ReadSystem(address + 0x22 + (2 * i), 2);
        state.Ldt = (ushort)linear.ReadSystem(address + 0x2A, 2);
        return state;
    }

    /// <summary>Throws the #PF that <see cref="Save"/> would throw.</summary>
    internal static void ProbeSave(VirtualCpu cpu, ulong address, bool is32)
    {
        uint first = is32 ? 0x20u : 0x0Eu;
        uint last = is32 ? 0x5Fu : 0x29u;
        Probe(cpu, address + first);
        Probe(cpu, address + last);
    }

    /// <summary>Throws the #PF that a system write to this byte would throw.</summary>
    internal static void Probe(VirtualCpu cpu, ulong address) =>
        _ = cpu.Tlb.TranslateSystem(address & 0xFFFFFFFF, Mmu.AccessKind.Write);

    /// <summary>Saves the dynamic fields of the running task.</summary>
    internal static void Save(VirtualCpu cpu, ulong address, bool is32, ulong flags)
    {
        CpuState* s = cpu.State;
        Mmu.LinearMemory linear = cpu.Linear;
        if (is32)
        {
            linear.WriteSystem(address + 0x20, 4, s->Rip);
            linear.WriteSystem(address + 0x24, 4, flags);
            for (uint i = 0; i < 8; i++)
                linear.WriteSystem(address + 0x28 + (4 * i), 4, s->Gpr[i]);
            for (uint i = 0; i < 6; i++)
                linear.WriteSystem(address + 0x48 + (4 * i), 2, s->SegmentAt((Segment)i)->Selector);
            return;
        }

        linear.WriteSystem(address + 0x0E, 2, s->Rip);
        linear.WriteSystem(address + 0x10, 2, flags);
        for (uint i = 0; i < 8; i++)
            linear.WriteSystem(address + 0x12 + (2 * i), 2, s->Gpr[i]);
        for (uint i = 0; i < 4; i++)
            linear.WriteSystem(address + 0x22 + (2 * i), 2, s->SegmentAt((Segment)i)->Selector);
    }
}
