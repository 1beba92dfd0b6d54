namespace Doppel.Machine.Cpu.Segments;

/// <summary>
/// Far JMP, CALL and RET in every mode (Intel SDM vol. 2, CALL, JMP, RET; vol. 3, 5.8). On entry RIP is the next
/// instruction; a fault leaves everything as it was.
/// </summary>
public static unsafe class FarTransfers
{
    /// <summary>Far jump to code, a call gate, a task gate or a TSS.</summary>
    /// <param name="cpu">The vCPU.</param>
    /// <param name="selector">Selector of the target.</param>
    /// <param name="offset">Offset of the target; not used with gates.</param>
    /// <param name="operandSize">2, 4 or 8 bytes.</param>
    public static void Jump(VirtualCpu cpu, ushort selector, ulong offset, int operandSize)
    {
        CpuState* s = cpu.State;
        offset = Cut(offset, operandSize);
        if (s->IsRealMode || s->IsVirtual8086)
        {
            CheckRealOffset(cpu, offset);
            LoadRealCode(s, selector);
            s->Rip = offset;
            return;
        }

        SegmentDescriptor descriptor = ReadTarget(cpu, selector);
        if (descriptor.IsCodeOrData)
        {
            CodeSegments.CheckDirect(cpu, selector, descriptor);
        }
        else
        {
            if (TrySwitchTask(cpu, selector, descriptor, TaskSwitchSource.Jump))
                return;
            descriptor = ReadGateTarget(cpu, selector, descriptor, out selector, out offset, out _);
            if (!descriptor.IsConforming && descriptor.Dpl != s->Cpl)
                throw cpu.GeneralProtection(selector & DescriptorTables.ErrorMask);
            CodeSegments.CheckForm(cpu, selector & DescriptorTables.ErrorMask, descriptor);
        }

        CodeSegments.CheckOffset(cpu, descriptor, offset);
        DescriptorTables.MarkAccessed(cpu, selector, descriptor);
        LoadCode(s, selector, descriptor, s->Cpl);
        s->Rip = offset;
    }

    /// <summary>Far call to code, a call gate (with the stack switch and the copy of parameters), a task gate or a TSS.</summary>
    /// <param name="cpu">The vCPU.</param>
    /// <param name="selector">Selector of the target.</param>
    /// <param name="offset">Offset of the target; not used with gates.</param>
    /// <param name="operandSize">2, 4 or 8 bytes: what is pushed, except through a gate, which has a size of its own.</param>
    public static void Call(VirtualCpu cpu, ushort selector, ulong offset, int operandSize)
    {
        CpuState* s = cpu.State;
        offset = Cut(offset, operandSize);
        if (s->IsRealMode || s->IsVirtual8086)
        {
            StackFrame frame = StackFrame.Current(cpu);
            frame.Push(operandSize, s->Cs.Selector);
            frame.Push(operandSize, s->Rip);
            CheckRealOffset(cpu, offset);
            frame.Commit();
            LoadRealCode(s, selector);
            s->Rip = offset;
            return;
        }

        SegmentDescriptor descriptor = ReadTarget(cpu, selector);
        if (descriptor.IsCodeOrData)
        {
            CodeSegments.CheckDirect(cpu, selector, descriptor);
            CallSameLevel(cpu, selector, descriptor, offset, operandSize);
            return;
        }

        if (TrySwitchTask(cpu, selector, descriptor, TaskSwitchSource.Call))
            return;
        SegmentDescriptor gate = descriptor;
        descriptor = ReadGateTarget(cpu, selector, gate, out selector, out offset, out operandSize);
        CodeSegments.CheckForm(cpu, selector & DescriptorTables.ErrorMask, descriptor);
        if (descriptor.IsConforming || descriptor.Dpl == s->Cpl)
            CallSameLevel(cpu, selector, descriptor, offset, operandSize);
        else if (s->IsLongMode)
            CallInnerLong(cpu, selector, descriptor, offset);
        else
            CallInner(cpu, selector, descriptor, offset, operandSize, gate.GateParameters);
    }

    /// <summary>Far return, to the same or an outer privilege.</summary>
    /// <param name="cpu">The vCPU.</param>
    /// <param name="operandSize">2, 4 or 8 bytes for each value popped.</param>
    /// <param name="popBytes">Parameters to remove from the stack (both stacks, on a return to an outer privilege).</param>
    public static void Return(VirtualCpu cpu, int operandSize, int popBytes)
    {
        CpuState* s = cpu.State;
        StackFrame frame = StackFrame.Current(cpu);
        ulong offset = frame.Pop(operandSize);
        ushort selector = (ushort)frame.Pop(operandSize);
        if (s->IsRealMode || s->IsVirtual8086)
        {
            CheckRealOffset(cpu, offset);
            frame.Skip(popBytes);
            frame.Commit();
            LoadRealCode(s, selector);
            s->Rip = offset;
            return;
        }

        SegmentDescriptor code = CodeSegments.ReadReturn(cpu, selector);
        int level = selector & 3;
        frame.Skip(popBytes);
        if (level == s->Cpl)
        {
            CodeSegments.CheckOffset(cpu, code, offset);
            DescriptorTables.MarkAccessed(cpu, selector, code);
            frame.Commit();
            LoadCode(s, selector, code, level);
            s->Rip = offset;
            return;
        }

        ulong pointer = frame.Pop(operandSize);
        SegmentRegister stack = CodeSegments.CheckReturnStack(cpu, (ushort)frame.Pop(operandSize), level, code);
        CodeSegments.CheckOffset(cpu, code, offset);
        DescriptorTables.MarkAccessed(cpu, selector, code);
        LoadCode(s, selector, code, level);
        LoadOuterStack(s, stack, pointer, popBytes);
        s->Rip = offset;
        CodeSegments.DropInnerData(s);
        cpu.ModeChanged();
    }

    /// <summary>Loads CS in real or virtual-8086 mode.</summary>
    internal static void LoadRealCode(CpuState* s, ushort selector)
    {
        if (s->IsVirtual8086)
            s->Cs = SegmentLoader.Virtual8086(selector);
        else
            SegmentLoader.LoadReal(&s->Cs, selector);
    }

    /// <summary>Loads CS, whose RPL becomes the CPL. The caller reports the mode change.</summary>
    internal static void LoadCode(CpuState* s, ushort selector, SegmentDescriptor descriptor, int level)
    {
        s->Cs = descriptor.ToRegister((ushort)((selector & ~3) | level));
        s->Cpl = level;
    }

    /// <summary>Loads SS and RSP on the way to an outer privilege, after CS: their width is that of the new mode.</summary>
    internal static void LoadOuterStack(CpuState* s, in SegmentRegister stack, ulong pointer, int popBytes)
    {
        s->Ss = stack;
        ulong mask = s->Is64Bit ? ulong.MaxValue : stack.Has(SegmentAttributes.Big) ? 0xFFFFFFFF : 0xFFFF;
        StackFrame.SetPointer(s, pointer + (ulong)popBytes, mask);
    }

    /// <summary>Throws #GP(0) for a real-mode instruction pointer beyond CS's limit.</summary>
    internal static void CheckRealOffset(VirtualCpu cpu, ulong offset)
    {
        if (offset > cpu.State->Cs.Limit)
            throw cpu.GeneralProtection();
    }

    private static ulong Cut(ulong offset, int operandSize) => operandSize switch
    {
        2 => offset & 0xFFFF,
        4 => offset & 0xFFFFFFFF,
        _ => offset,
    };

    private static SegmentDescriptor ReadTarget(VirtualCpu cpu, ushort selector) =>
        (selector & DescriptorTables.ErrorMask) != 0 ? DescriptorTables.Read(cpu, selector) : throw cpu.GeneralProtection();

    private static bool TrySwitchTask(VirtualCpu cpu, ushort selector, SegmentDescriptor descriptor, TaskSwitchSource source)
    {
        DescriptorType type = descriptor.SystemType;
        bool isGate = type == DescriptorType.TaskGate;
        bool isTask = type is DescriptorType.Tss16Available or DescriptorType.Tss16Busy or DescriptorType.Tss32Available or DescriptorType.Tss32Busy;
        if (!isGate && !isTask)
            return false;
        uint code = selector & DescriptorTables.ErrorMask;
        if (cpu.State->IsLongMode || descriptor.Dpl < Math.Max(cpu.State->Cpl, selector & 3))
            throw cpu.GeneralProtection(code);
        if (isGate && !descriptor.IsPresent)
            throw cpu.Fault(ExceptionVector.SegmentNotPresent, code);
        TaskSwitch.Execute(cpu, isGate ? descriptor.GateSelector : selector, source, errorCode: null);
        return true;
    }

    private static SegmentDescriptor ReadGateTarget(
        VirtualCpu cpu, ushort selector, SegmentDescriptor gate, out ushort target, out ulong offset, out int operandSize)
    {
        CpuState* s = cpu.State;
        uint code = selector & DescriptorTables.ErrorMask;
        bool is16 = gate.SystemType == DescriptorType.CallGate16 && !s->IsLongMode;
        if (!is16 && gate.SystemType != DescriptorType.CallGate32)
            throw cpu.GeneralProtection(code);
        if (gate.Dpl < Math.Max(s->Cpl, selector & 3))
            throw cpu.GeneralProtection(code);
        if (!gate.IsPresent)
            throw cpu.Fault(ExceptionVector.SegmentNotPresent, code);
        target = gate.GateSelector;
        offset = is16 ? gate.GateOffset & 0xFFFF : gate.GateOffset;
        operandSize = is16 ? 2 : s->IsLongMode ? 8 : 4;
        uint targetCode = target & DescriptorTables.ErrorMask;
        if (targetCode == 0)
            throw cpu.GeneralProtection();
        SegmentDescriptor descriptor = DescriptorTables.Read(cpu, target);
        if (!descriptor.IsCode || descriptor.Dpl > s->Cpl || (s->IsLongMode && !descriptor.IsLong))
            throw cpu.GeneralProtection(targetCode);
        return descriptor;
    }

    private static void CallSameLevel(VirtualCpu cpu, ushort selector, SegmentDescriptor descriptor, ulong offset, int operandSize)
    {
        CpuState* s = cpu.State;
        CodeSegments.CheckOffset(cpu, descriptor, offset);
        DescriptorTables.MarkAccessed(cpu, selector, descriptor);
        // A 64-bit gate called from compatibility mode pushes on what is from now on a 64-bit stack.
        bool isFlat = s->IsLongMode && (s->Is64Bit || (operandSize == 8 && descriptor.IsLong));
        ulong pointer = s->Is64Bit ? s->Gpr[4] : s->Gpr[4] & 0xFFFFFFFF;
        StackFrame frame = isFlat ? StackFrame.Flat(cpu, pointer) : StackFrame.Current(cpu);
        frame.Push(operandSize, s->Cs.Selector);
        frame.Push(operandSize, s->Rip);
        frame.Commit();
        LoadCode(s, selector, descriptor, s->Cpl);
        s->Rip = offset;
    }

    private static void CallInner(
        VirtualCpu cpu, ushort selector, SegmentDescriptor descriptor, ulong offset, int operandSize, int parameterCount)
    {
        CpuState* s = cpu.State;
        int level = descriptor.Dpl;
        SegmentRegister stack = InnerStack.Read(cpu, level, out ulong pointer);
        CodeSegments.CheckOffset(cpu, descriptor, offset);
        DescriptorTables.MarkAccessed(cpu, selector, descriptor);
        ulong* parameters = stackalloc ulong[31];
        StackFrame old = StackFrame.Current(cpu);
        for (int i = 0; i < parameterCount; i++)
            parameters[i] = old.Pop(operandSize);

        int oldLevel = s->Cpl;
        StackFrame frame = StackFrame.InSegment(cpu, stack, pointer, stack.Selector & DescriptorTables.ErrorMask);
        s->Cpl = level;
        cpu.ModeChanged();
        try
        {
            frame.Push(operandSize, s->Ss.Selector);
            frame.Push(operandSize, s->Gpr[4]);
            for (int i = parameterCount - 1; i >= 0; i--)
                frame.Push(operandSize, parameters[i]);
            frame.Push(operandSize, s->Cs.Selector);
            frame.Push(operandSize, s->Rip);
        }
        catch
        {
            s->Cpl = oldLevel;
            cpu.ModeChanged();
            throw;
        }

        s->Ss = stack;
        frame.Commit();
        LoadCode(s, selector, descriptor, level);
        s->Rip = offset;
    }

    private static void CallInnerLong(VirtualCpu cpu, ushort selector, SegmentDescriptor descriptor, ulong offset)
    {
        CpuState* s = cpu.State;
        int level = descriptor.Dpl;
        CodeSegments.CheckOffset(cpu, descriptor, offset);
        DescriptorTables.MarkAccessed(cpu, selector, descriptor);
        StackFrame frame = StackFrame.Flat(cpu, InnerStack.ReadLong(cpu, level, ist: 0));
        int oldLevel = s->Cpl;
        s->Cpl = level;
        cpu.ModeChanged();
        try
        {
            frame.Push(8, s->Ss.Selector);
            frame.Push(8, s->Gpr[4]);
            frame.Push(8, s->Cs.Selector);
            frame.Push(8, s->Rip);
        }
        catch
        {
            s->Cpl = oldLevel;
            cpu.ModeChanged();
            throw;
        }

        s->Ss = SegmentLoader.NullStack((ushort)level, level);
        frame.Commit();
        LoadCode(s, selector, descriptor, level);
        s->Rip = offset;
    }
}
