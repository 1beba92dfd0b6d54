using Doppel.Machine.Cpu.Mmu;
using Doppel.Machine.Cpu.Segments;

namespace Doppel.Machine.Cpu.Events;

/// <summary>
/// Interrupts and exceptions in long mode: 16-byte gates, 64-bit handlers, the interrupt stack table, and a frame that
/// always holds SS:RSP below a 16-byte aligned pointer (Intel SDM vol. 3, 6.14).
/// </summary>
internal static unsafe class LongModeEntry
{
    private const uint IdtBit = 2;

    internal static void Enter(VirtualCpu cpu, int vector, uint? errorCode, ulong flags, bool checkPrivilege)
    {
        CpuState* s = cpu.State;
        LinearMemory linear = cpu.Linear;
        uint entry = (uint)vector * 16;
        uint idtCode = ((uint)vector * 8) | IdtBit;
        if (entry + 15 > s->Idtr.Limit)
            throw cpu.GeneralProtection(idtCode);
        var gate = new SegmentDescriptor(linear.ReadSystem(s->Idtr.Base + entry, 8), linear.ReadSystem(s->Idtr.Base + entry + 8, 8));
        if (gate.IsCodeOrData || gate.SystemType is not (DescriptorType.InterruptGate32 or DescriptorType.TrapGate32))
            throw cpu.GeneralProtection(idtCode);
        if (checkPrivilege && gate.Dpl < s->Cpl)
            throw cpu.GeneralProtection(idtCode);
        if (!gate.IsPresent)
            throw cpu.Fault(ExceptionVector.SegmentNotPresent, idtCode);

        ushort selector = gate.GateSelector;
        uint code = selector & DescriptorTables.ErrorMask;
        if (code == 0)
            throw cpu.GeneralProtection();
        SegmentDescriptor target = DescriptorTables.Read(cpu, selector);
        if (!target.IsCode || target.Dpl > s->Cpl || !target.IsLong || target.IsBig)
            throw cpu.GeneralProtection(code);
        if (!target.IsPresent)
            throw cpu.Fault(ExceptionVector.SegmentNotPresent, code);

        int oldLevel = s->Cpl;
        int level = target.IsConforming ? oldLevel : target.Dpl;
        ulong pointer = gate.GateStack != 0 || level != oldLevel
            ? InnerStack.ReadLong(cpu, level, gate.GateStack)
            : s->Gpr[4];
        if (!LinearMemory.IsCanonical(gate.GateOffset))
            throw cpu.GeneralProtection();
        DescriptorTables.MarkAccessed(cpu, selector, target);
        pointer &= ~15UL;
        ulong top = pointer;
        if (level == oldLevel)
        {
            pointer = Push(linear, s, top, flags, errorCode);
        }
        else
        {
            s->Cpl = level;
            cpu.ModeChanged();
            try
            {
                pointer = Push(linear, s, top, flags, errorCode);
            }
            catch
            {
                s->Cpl = oldLevel;
                cpu.ModeChanged();
                throw;
            }

            s->Ss = SegmentLoader.NullStack((ushort)level, level);
        }

        s->Gpr[4] = pointer;
        FarTransfers.LoadCode(s, selector, target, level);
        s->Rip = gate.GateOffset;
        ulong cleared = CpuFlags.Tf | CpuFlags.Nt | CpuFlags.Rf | CpuFlags.Vm;
        if (gate.SystemType == DescriptorType.InterruptGate32)
            cleared |= CpuFlags.If;
        s->FlagSystem &= ~cleared;
    }

    private static ulong Push(LinearMemory linear, CpuState* s, ulong top, ulong flags, uint? errorCode)
    {
        linear.Write(top - 8, (ulong)s->Ss.Selector, isStack: true);
        linear.Write(top - 16, s->Gpr[4], isStack: true);
        linear.Write(top - 24, flags, isStack: true);
        linear.Write(top - 32, (ulong)s->Cs.Selector, isStack: true);
        linear.Write(top - 40, s->Rip, isStack: true);
        if (errorCode is not uint code)
            return top - 40;
        linear.Write(top - 48, (ulong)code, isStack: true);
        return top - 48;
    }
}
