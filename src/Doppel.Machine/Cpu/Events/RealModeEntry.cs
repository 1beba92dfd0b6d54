using Doppel.Machine.Cpu.Segments;

namespace Doppel.Machine.Cpu.Events;

/// <summary>Interrupts in real mode: a far pointer from the vector table that IDTR describes (Intel SDM vol. 3, 21.1.4).</summary>
internal static unsafe class RealModeEntry
{
    internal static void Enter(VirtualCpu cpu, int vector, ulong flags)
    {
        CpuState* s = cpu.State;
        uint offset = (uint)vector * 4;
        if (offset + 3 > s->Idtr.Limit)
            throw cpu.GeneralProtection();
        ulong pointer = cpu.Linear.ReadSystem(s->Idtr.Base + offset, 4);
        StackFrame frame = StackFrame.Current(cpu);
        frame.Push(2, flags);
        frame.Push(2, s->Cs.Selector);
        frame.Push(2, s->Rip);
        FarTransfers.CheckRealOffset(cpu, pointer & 0xFFFF);
        frame.Commit();
        FarTransfers.LoadRealCode(s, (ushort)(pointer >> 16));
        s->Rip = pointer & 0xFFFF;
        FlagInstructions.Write(cpu, 0, CpuFlags.If | CpuFlags.Tf | CpuFlags.Ac | CpuFlags.Rf);
    }
}
