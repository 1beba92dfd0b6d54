using Doppel.Machine.Cpu.Segments;

namespace Doppel.Machine.Cpu.Events;

/// <summary>
/// Interrupts and exceptions in protected and virtual-8086 mode through 16- and 32-bit interrupt, trap and task gates
/// (Intel SDM vol. 3, 6.12 and 21.3.1).
/// </summary>
internal static unsafe class ProtectedModeEntry
{
    private const uint IdtBit = 2;

    internal static void Enter(VirtualCpu cpu, int vector, uint? errorCode, ulong flags, bool checkPrivilege)
    {
        CpuState* s = cpu.State;
        uint idtCode = ((uint)vector * 8) | IdtBit;
        SegmentDescriptor gate = ReadGate(cpu, vector, idtCode);
        if (checkPrivilege && gate.Dpl < s->Cpl)
            throw cpu.GeneralProtection(idtCode);
        if (!gate.IsPresent)
            throw cpu.Fault(ExceptionVector.SegmentNotPresent, idtCode);
        if (gate.SystemType == DescriptorType.TaskGate)
        {
            EnterTask(cpu, gate.GateSelector, errorCode, flags);
            return;
        }

        ushort selector = gate.GateSelector;
        uint code = selector & DescriptorTables.ErrorMask;
        if (code == 0)
            throw cpu.GeneralProtection();
        SegmentDescriptor target = DescriptorTables.Read(cpu, selector);
        if (!target.IsCode || target.Dpl > s->Cpl)
            throw cpu.GeneralProtection(code);
        if (!target.IsPresent)
            throw cpu.Fault(ExceptionVector.SegmentNotPresent, code);
        bool isVirtual = s->IsVirtual8086;
        int level = target.IsConforming ? s->Cpl : target.Dpl;
        // A virtual-8086 program can only be interrupted into privilege 0.
        if (isVirtual && level != 0)
            throw cpu.GeneralProtection(code);

        bool is32 = ((int)gate.SystemType & 8) != 0;
        int size = is32 ? 4 : 2;
        ulong offset = is32 ? gate.GateOffset : gate.GateOffset & 0xFFFF;
        bool masksInterrupts = ((int)gate.SystemType & 1) == 0;
        if (level == s->Cpl)
        {
            CodeSegments.CheckOffset(cpu, target, offset);
            DescriptorTables.MarkAccessed(cpu, selector, target);
            StackFrame frame = StackFrame.Current(cpu);
            PushReturn(ref frame, s, size, flags, errorCode);
            frame.Commit();
        }
        else
        {
            EnterInner(cpu, selector, target, level, size, offset, flags, errorCode);
        }

        FarTransfers.LoadCode(s, selector, target, level);
        s->Rip = offset;
        ulong cleared = CpuFlags.Tf | CpuFlags.Nt | CpuFlags.Rf | CpuFlags.Vm | (masksInterrupts ? CpuFlags.If : 0);
        s->FlagSystem &= ~cleared;
        if (isVirtual)
            cpu.ModeChanged();
    }

    private static SegmentDescriptor ReadGate(VirtualCpu cpu, int vector, uint idtCode)
    {
        CpuState* s = cpu.State;
        uint entry = (uint)vector * 8;
        if (entry + 7 > s->Idtr.Limit)
            throw cpu.GeneralProtection(idtCode);
        var gate = new SegmentDescriptor(cpu.Linear.ReadSystem(s->Idtr.Base + entry, 8));
        bool isGate = !gate.IsCodeOrData && gate.SystemType is DescriptorType.TaskGate
            or DescriptorType.InterruptGate16 or DescriptorType.TrapGate16
            or DescriptorType.InterruptGate32 or DescriptorType.TrapGate32;
        return isGate ? gate : throw cpu.GeneralProtection(idtCode);
    }

    private static void EnterTask(VirtualCpu cpu, ushort selector, uint? errorCode, ulong flags)
    {
        CpuState* s = cpu.State;
        ulong old = s->Flags;
        // The flags saved in the interrupted task's TSS are those that an interrupt gate would push.
        s->Flags = flags;
        try
        {
            TaskSwitch.Execute(cpu, selector, TaskSwitchSource.Gate, errorCode);
        }
        catch (GuestFault fault) when (!fault.IsTrap)
        {
            // A fault on behalf of the interrupted task leaves its flags as they were.
            s->Flags = old;
            throw;
        }
    }

    private static void EnterInner(
        VirtualCpu cpu, ushort selector, SegmentDescriptor target, int level, int size, ulong offset, ulong flags, uint? errorCode)
    {
        CpuState* s = cpu.State;
        SegmentRegister stack = InnerStack.Read(cpu, level, out ulong pointer);
        CodeSegments.CheckOffset(cpu, target, offset);
        DescriptorTables.MarkAccessed(cpu, selector, target);
        StackFrame frame = StackFrame.InSegment(cpu, stack, pointer, stack.Selector & DescriptorTables.ErrorMask);
        int oldLevel = s->Cpl;
        bool isVirtual = s->IsVirtual8086;
        s->Cpl = level;
        cpu.ModeChanged();
        try
        {
            if (isVirtual)
            {
                frame.Push(size, s->Gs.Selector);
                frame.Push(size, s->Fs.Selector);
                frame.Push(size, s->Ds.Selector);
                frame.Push(size, s->Es.Selector);
            }

            frame.Push(size, s->Ss.Selector);
            frame.Push(size, s->Gpr[4]);
            PushReturn(ref frame, s, size, flags, errorCode);
        }
        catch
        {
            s->Cpl = oldLevel;
            cpu.ModeChanged();
            throw;
        }

        if (isVirtual)
        {
            s->Gs = SegmentLoader.Null(0);
            s->Fs = SegmentLoader.Null(0);
            s->Ds = SegmentLoader.Null(0);
            s->Es = SegmentLoader.Null(0);
        }

        s->Ss = stack;
        frame.Commit();
    }

    private static void PushReturn(ref StackFrame frame, CpuState* s, int size, ulong flags, uint? errorCode)
    {
        frame.Push(size, flags);
        frame.Push(size, s->Cs.Selector);
        frame.Push(size, s->Rip);
        if (errorCode is uint code)
            frame.Push(size, code);
    }
}
