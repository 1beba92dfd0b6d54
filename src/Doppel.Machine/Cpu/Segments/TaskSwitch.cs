namespace Doppel.Machine.Cpu.Segments;

/// <summary>Hardware task switching with 16- and 32-bit task state segments (Intel SDM vol. 3, chapter 8).</summary>
public static unsafe class TaskSwitch
{
    private const ulong LocalBreakpoints = 0x155;
    private const ulong DebugTaskSwitch = 1 << 15;

    /// <summary>
    /// Switches to a task. Faults found while the old task can still be resumed leave everything as it was. Later ones
    /// (#TS, #NP, #SS, #GP for what the new TSS holds) belong to the new task: they are thrown with
    /// <see cref="GuestFault.IsTrap"/> set, because RIP is the new task's and must not be reset. The T bit gives a #DB trap.
    /// </summary>
    /// <param name="cpu">The vCPU; RIP is what the old task resumes at. Not in long mode.</param>
    /// <param name="tssSelector">The new task; the caller has checked the gate's privilege.</param>
    /// <param name="source">What makes the switch.</param>
    /// <param name="errorCode">For exceptions with an error code: pushed on the new task's stack.</param>
    public static void Execute(VirtualCpu cpu, ushort tssSelector, TaskSwitchSource source, uint? errorCode)
    {
        CpuState* s = cpu.State;
        SegmentDescriptor descriptor = ReadTask(cpu, tssSelector, source);
        bool is32 = ((int)descriptor.SystemType & 8) != 0;
        bool oldIs32 = (s->Tr.Type & 8) != 0;
        ulong newBase = descriptor.Base;
        ulong oldBase = s->Tr.Base;
        bool isNested = source is TaskSwitchSource.Call or TaskSwitchSource.Gate;

        // Every access that may still fault on behalf of the old task comes first.
        if (s->Tr.Limit < (oldIs32 ? 0x5Fu : 0x29u))
            throw cpu.Fault(ExceptionVector.InvalidTss, s->Tr.Selector & DescriptorTables.ErrorMask);
        TaskState.ProbeSave(cpu, oldBase, oldIs32);
        _ = DescriptorTables.TryLocate(cpu, tssSelector, 8, out ulong newEntry);
        TaskState.Probe(cpu, newEntry + 5);
        if (isNested)
        {
            TaskState.Probe(cpu, newBase);
            TaskState.Probe(cpu, newBase + 1);
        }
        else if (DescriptorTables.TryLocate(cpu, s->Tr.Selector, 8, out ulong oldEntry))
        {
            TaskState.Probe(cpu, oldEntry + 5);
        }

        TaskState state = TaskState.Read(cpu, newBase, is32);
        ulong savedFlags = source == TaskSwitchSource.Iret ? s->Flags & ~CpuFlags.Nt : s->Flags;
        TaskState.Save(cpu, oldBase, oldIs32, savedFlags);
        if (isNested)
        {
            cpu.Linear.WriteSystem(newBase, 2, s->Tr.Selector);
            state.Flags |= CpuFlags.Nt;
        }
        else if (DescriptorTables.TryLocate(cpu, s->Tr.Selector, 8, out _))
        {
            DescriptorTables.SetBusy(cpu, s->Tr.Selector, busy: false);
        }

        if (source != TaskSwitchSource.Iret)
            DescriptorTables.SetBusy(cpu, tssSelector, busy: true);
        SegmentRegister task = descriptor.ToRegister(tssSelector);
        task.Attributes |= (SegmentAttributes)2;
        s->Tr = task;
        s->Cr0 |= Cr0.Ts;
        s->Dr[7] &= ~LocalBreakpoints;
        try
        {
            LoadContext(cpu, ref state, is32);
            if (errorCode is uint code)
                PushError(cpu, code, is32);
            if (s->Rip > s->Cs.Limit)
                throw cpu.GeneralProtection();
            if (state.DebugTrap)
                throw cpu.DebugException(DebugTaskSwitch, isTrap: true);
        }
        catch (GuestFault fault)
        {
            fault.IsTrap = true;
            throw;
        }
    }

    private static SegmentDescriptor ReadTask(VirtualCpu cpu, ushort selector, TaskSwitchSource source)
    {
        bool isReturn = source == TaskSwitchSource.Iret;
        ExceptionVector vector = isReturn ? ExceptionVector.InvalidTss : ExceptionVector.GeneralProtection;
        uint code = selector & DescriptorTables.ErrorMask;
        if (code == 0 || (selector & 4) != 0)
            throw cpu.Fault(vector, code);
        SegmentDescriptor descriptor = DescriptorTables.Read(cpu, selector, vector);
        DescriptorType type = descriptor.SystemType;
        bool isExpected = !descriptor.IsCodeOrData && (isReturn
            ? type is DescriptorType.Tss16Busy or DescriptorType.Tss32Busy
            : type is DescriptorType.Tss16Available or DescriptorType.Tss32Available);
        if (!isExpected)
            throw cpu.Fault(vector, code);
        if (!descriptor.IsPresent)
            throw cpu.Fault(ExceptionVector.SegmentNotPresent, code);
        if (descriptor.Limit < (((int)type & 8) != 0 ? 0x67u : 0x2Bu))
            throw cpu.Fault(ExceptionVector.InvalidTss, code);
        return descriptor;
    }

    private static void LoadContext(VirtualCpu cpu, ref TaskState state, bool is32)
    {
        CpuState* s = cpu.State;
        s->Rip = state.Eip;
        s->Flags = is32 ? state.Flags : state.Flags & 0xFFFF;
        for (int i = 0; i < 8; i++)
            s->Gpr[i] = state.Gpr[i];
        // Until each descriptor has been checked, the register holds the new selector and no segment.
        for (int i = 0; i < 6; i++)
            *s->SegmentAt((Segment)i) = SegmentLoader.Null(state.Selectors[i]);
        s->Ldtr = SegmentLoader.Null(state.Ldt);
        bool isVirtual = s->IsVirtual8086;
        int level = isVirtual ? 3 : state.Selectors[(int)Segment.Cs] & 3;
        s->Cpl = level;
        cpu.ModeChanged();
        if (is32 && (s->Cr0 & Cr0.Pg) != 0)
            LoadCr3(cpu, state.Cr3);

        LoadLdt(cpu, state.Ldt);
        if (isVirtual)
        {
            for (int i = 0; i < 6; i++)
                *s->SegmentAt((Segment)i) = SegmentLoader.Virtual8086(state.Selectors[i]);
            return;
        }

        s->Ss = InnerStack.Check(cpu, state.Selectors[(int)Segment.Ss], level, ExceptionVector.InvalidTss);
        LoadData(cpu, Segment.Ds, state.Selectors[(int)Segment.Ds]);
        LoadData(cpu, Segment.Es, state.Selectors[(int)Segment.Es]);
        LoadData(cpu, Segment.Fs, state.Selectors[(int)Segment.Fs]);
        LoadData(cpu, Segment.Gs, state.Selectors[(int)Segment.Gs]);
        LoadCode(cpu, state.Selectors[(int)Segment.Cs]);
    }

    private static void LoadCr3(VirtualCpu cpu, ulong value)
    {
        CpuState* s = cpu.State;
        s->Cr3 = value;
        cpu.Tlb.SelectAddressSpace(0, keep: false);
        if ((s->Cr4 & Cr4.Pae) == 0)
            return;
        ulong reserved = ~((1UL << cpu.Model.PhysicalAddressBits) - 1) | 0x1E6;
        ulong* entries = stackalloc ulong[4];
        for (uint i = 0; i < 4; i++)
        {
            entries[i] = cpu.Physical.Read((value & 0xFFFFFFE0) + (8 * i), 8);
            if ((entries[i] & 1) != 0 && (entries[i] & reserved) != 0)
                throw cpu.GeneralProtection();
        }

        for (int i = 0; i < 4; i++)
            s->Pdpte[i] = entries[i];
    }

    private static void LoadLdt(VirtualCpu cpu, ushort selector)
    {
        uint code = selector & DescriptorTables.ErrorMask;
        if (code == 0)
            return;
        if ((selector & 4) != 0)
            throw cpu.Fault(ExceptionVector.InvalidTss, code);
        SegmentDescriptor descriptor = DescriptorTables.Read(cpu, selector, ExceptionVector.InvalidTss);
        if (descriptor.IsCodeOrData || descriptor.SystemType != DescriptorType.Ldt || !descriptor.IsPresent)
            throw cpu.Fault(ExceptionVector.InvalidTss, code);
        cpu.State->Ldtr = descriptor.ToRegister(selector);
    }

    private static void LoadData(VirtualCpu cpu, Segment segment, ushort selector)
    {
        CpuState* s = cpu.State;
        uint code = selector & DescriptorTables.ErrorMask;
        if (code == 0)
            return;
        SegmentDescriptor descriptor = DescriptorTables.Read(cpu, selector, ExceptionVector.InvalidTss);
        bool isAllowed = SegmentLoader.IsReadable(descriptor)
            && (descriptor.IsConforming || descriptor.Dpl >= Math.Max(s->Cpl, selector & 3));
        if (!isAllowed)
            throw cpu.Fault(ExceptionVector.InvalidTss, code);
        if (!descriptor.IsPresent)
            throw cpu.Fault(ExceptionVector.SegmentNotPresent, code);
        DescriptorTables.MarkAccessed(cpu, selector, descriptor);
        *s->SegmentAt(segment) = descriptor.ToRegister(selector);
    }

    private static void LoadCode(VirtualCpu cpu, ushort selector)
    {
        uint code = selector & DescriptorTables.ErrorMask;
        if (code == 0)
            throw cpu.Fault(ExceptionVector.InvalidTss);
        SegmentDescriptor descriptor = DescriptorTables.Read(cpu, selector, ExceptionVector.InvalidTss);
        int rpl = selector & 3;
        if (!descriptor.IsCode || (descriptor.IsConforming ? descriptor.Dpl > rpl : descriptor.Dpl != rpl))
            throw cpu.Fault(ExceptionVector.InvalidTss, code);
        if (!descriptor.IsPresent)
            throw cpu.Fault(ExceptionVector.SegmentNotPresent, code);
        DescriptorTables.MarkAccessed(cpu, selector, descriptor);
        cpu.State->Cs = descriptor.ToRegister(selector);
    }

    private static void PushError(VirtualCpu cpu, uint code, bool is32)
    {
        StackFrame frame = StackFrame.Current(cpu);
        frame.Push(is32 ? 4 : 2, code);
        frame.Commit();
    }
}
