namespace Doppel.Machine.Cpu.Segments;

/// <summary>IRET, IRETD and IRETQ in every mode (Intel SDM vol. 2, IRET; vol. 3, 21.2 and 21.3).</summary>
public static unsafe class InterruptReturn
{
    private const ulong Wide = CpuFlags.Rf | CpuFlags.Ac | CpuFlags.Id;

    /// <summary>
    /// Returns from an interrupt. NMIs are accepted again even when the return faults; everything else is then as it was.
    /// Throws #GP, #NP, #SS, #TS, #PF, #AC.
    /// </summary>
    /// <param name="cpu">The vCPU.</param>
    /// <param name="operandSize">2, 4 or 8 bytes for each value popped.</param>
    public static void Execute(VirtualCpu cpu, int operandSize)
    {
        CpuState* s = cpu.State;
        s->Shadow &= ~InterruptShadow.NmiBlocked;
        if (s->IsLongMode)
            ReturnLong(cpu, operandSize);
        else if (s->IsRealMode)
            ReturnReal(cpu, operandSize);
        else if (s->IsVirtual8086)
            ReturnVirtual(cpu, operandSize);
        else if ((s->FlagSystem & CpuFlags.Nt) != 0)
            TaskSwitch.Execute(cpu, (ushort)cpu.Linear.ReadSystem(s->Tr.Base, 2), TaskSwitchSource.Iret, errorCode: null);
        else
            ReturnProtected(cpu, operandSize);
    }

    private static void ReturnLong(VirtualCpu cpu, int operandSize)
    {
        CpuState* s = cpu.State;
        if ((s->FlagSystem & CpuFlags.Nt) != 0)
            throw cpu.GeneralProtection();
        StackFrame frame = StackFrame.Current(cpu);
        ulong rip = frame.Pop(operandSize);
        ushort selector = (ushort)frame.Pop(operandSize);
        ulong flags = frame.Pop(operandSize);
        SegmentDescriptor code = CodeSegments.ReadReturn(cpu, selector);
        int level = selector & 3;
        int oldLevel = s->Cpl;
        // 64-bit code always gets SS:RSP back, also at the same privilege.
        if (level == oldLevel && !s->Is64Bit)
        {
            CodeSegments.CheckOffset(cpu, code, rip);
            DescriptorTables.MarkAccessed(cpu, selector, code);
            frame.Commit();
            FarTransfers.LoadCode(s, selector, code, level);
        }
        else
        {
            ulong pointer = frame.Pop(operandSize);
            SegmentRegister stack = CodeSegments.CheckReturnStack(cpu, (ushort)frame.Pop(operandSize), level, code);
            CodeSegments.CheckOffset(cpu, code, rip);
            DescriptorTables.MarkAccessed(cpu, selector, code);
            FarTransfers.LoadCode(s, selector, code, level);
            FarTransfers.LoadOuterStack(s, stack, pointer, 0);
        }

        s->Rip = rip;
        ulong old = s->Flags;
        ulong mask = ReturnMask(oldLevel, FlagInstructions.IoplOf(s), operandSize);
        ulong loaded = (old & ~mask) | (flags & mask);
        s->Flags = loaded;
        if (level != oldLevel)
            CodeSegments.DropInnerData(s);
        if (level != oldLevel || ((old ^ loaded) & CpuFlags.Ac) != 0)
            cpu.ModeChanged();
    }

    private static void ReturnReal(VirtualCpu cpu, int operandSize)
    {
        CpuState* s = cpu.State;
        StackFrame frame = StackFrame.Current(cpu);
        ulong offset = frame.Pop(operandSize);
        ushort selector = (ushort)frame.Pop(operandSize);
        ulong flags = frame.Pop(operandSize);
        FarTransfers.CheckRealOffset(cpu, offset);
        frame.Commit();
        FarTransfers.LoadRealCode(s, selector);
        s->Rip = offset;
        ulong mask = FlagInstructions.Common | CpuFlags.If | CpuFlags.Iopl;
        if (operandSize != 2)
            mask |= Wide;
        FlagInstructions.Write(cpu, flags, mask);
    }

    private static void ReturnVirtual(VirtualCpu cpu, int operandSize)
    {
        CpuState* s = cpu.State;
        ulong mask = FlagInstructions.Common;
        bool ownsInterrupts = FlagInstructions.IoplOf(s) == 3;
        if (!ownsInterrupts && (operandSize != 2 || (s->Cr4 & Cr4.Vme) == 0))
            throw cpu.GeneralProtection();
        StackFrame frame = StackFrame.Current(cpu);
        ulong offset = frame.Pop(operandSize);
        ushort selector = (ushort)frame.Pop(operandSize);
        ulong flags = frame.Pop(operandSize);
        FarTransfers.CheckRealOffset(cpu, offset);
        if (ownsInterrupts)
            mask |= CpuFlags.If;
        else
            flags = FlagInstructions.VirtualizePopped(cpu, flags, operandSize, ref mask);
        frame.Commit();
        FarTransfers.LoadRealCode(s, selector);
        s->Rip = offset;
        if (operandSize != 2)
            mask |= Wide;
        FlagInstructions.Write(cpu, flags, mask);
    }

    private static void ReturnProtected(VirtualCpu cpu, int operandSize)
    {
        CpuState* s = cpu.State;
        StackFrame frame = StackFrame.Current(cpu);
        ulong offset = frame.Pop(operandSize);
        ushort selector = (ushort)frame.Pop(operandSize);
        ulong flags = frame.Pop(operandSize);
        int oldLevel = s->Cpl;
        if (operandSize != 2 && (flags & CpuFlags.Vm) != 0 && oldLevel == 0)
        {
            ReturnToVirtual(cpu, frame, offset, selector, flags);
            return;
        }

        SegmentDescriptor code = CodeSegments.ReadReturn(cpu, selector);
        int level = selector & 3;
        ulong mask = ReturnMask(oldLevel, FlagInstructions.IoplOf(s), operandSize);
        if (level == oldLevel)
        {
            CodeSegments.CheckOffset(cpu, code, offset);
            DescriptorTables.MarkAccessed(cpu, selector, code);
            frame.Commit();
            FarTransfers.LoadCode(s, selector, code, level);
            s->Rip = offset;
            FlagInstructions.Write(cpu, flags, mask);
            return;
        }

        ulong pointer = frame.Pop(operandSize);
        SegmentRegister stack = CodeSegments.CheckReturnStack(cpu, (ushort)frame.Pop(operandSize), level, code);
        CodeSegments.CheckOffset(cpu, code, offset);
        DescriptorTables.MarkAccessed(cpu, selector, code);
        FarTransfers.LoadCode(s, selector, code, level);
        FarTransfers.LoadOuterStack(s, stack, pointer, 0);
        s->Rip = offset;
        ulong current = s->Flags;
        s->Flags = (current & ~mask) | (flags & mask);
        CodeSegments.DropInnerData(s);
        cpu.ModeChanged();
    }

    private static void ReturnToVirtual(VirtualCpu cpu, StackFrame frame, ulong offset, ushort selector, ulong flags)
    {
        CpuState* s = cpu.State;
        ulong pointer = frame.Pop(4);
        var ss = (ushort)frame.Pop(4);
        var es = (ushort)frame.Pop(4);
        var ds = (ushort)frame.Pop(4);
        var fs = (ushort)frame.Pop(4);
        var gs = (ushort)frame.Pop(4);
        if (offset > 0xFFFF)
            throw cpu.GeneralProtection();
        s->Flags = flags;
        s->Cs = SegmentLoader.Virtual8086(selector);
        s->Ss = SegmentLoader.Virtual8086(ss);
        s->Es = SegmentLoader.Virtual8086(es);
        s->Ds = SegmentLoader.Virtual8086(ds);
        s->Fs = SegmentLoader.Virtual8086(fs);
        s->Gs = SegmentLoader.Virtual8086(gs);
        s->Gpr[4] = pointer;
        s->Rip = offset;
        s->Cpl = 3;
        cpu.ModeChanged();
    }

    // What a return may load by the privilege that it starts from; the rest stays without a fault.
    private static ulong ReturnMask(int level, int iopl, int operandSize)
    {
        ulong mask = FlagInstructions.Common;
        if (operandSize != 2)
            mask |= Wide;
        if (level <= iopl)
            mask |= CpuFlags.If;
        if (level == 0)
            mask |= CpuFlags.Iopl | (operandSize != 2 ? CpuFlags.Vif | CpuFlags.Vip : 0);
        return mask;
    }
}
