using Doppel.Machine.Cpu.HostInstructions;
using Doppel.Machine.Cpu.Segments;
using Doppel.Machine.Cpu.System;

namespace Doppel.Machine.Cpu.Interpreter.Handlers;

/// <summary>Flags, port I/O, control and model-specific registers, time, system calls, and instructions that run on the host.</summary>
internal static unsafe class SystemHandlers
{
    internal static DecodedOp* Undefined(CpuState* s, DecodedOp* op, Interpreter v) => throw v.Cpu.InvalidOpcode();

    // Longer than 15 bytes.
    internal static DecodedOp* TooLong(CpuState* s, DecodedOp* op, Interpreter v) => throw v.Cpu.GeneralProtection();

    internal static DecodedOp* OnHost(CpuState* s, DecodedOp* op, Interpreter v)
    {
        PreparedHostInstruction prepared = v.Host[op->Extra];
        ulong address = 0;
        if (prepared.NeedsInstructionPointer)
            s->Rip = v.RipOf(op);
        if (prepared.ComputesAddress)
            address = Operand.EffectiveAddress(s, op);
        else if (prepared.MemorySize != 0)
            address = Operand.Linear(s, op, v, prepared.MemorySize, prepared.WritesMemory);
        v.Host.Execute(op->Extra, address);
        return op + 1;
    }

    internal static DecodedOp* Clc(CpuState* s, DecodedOp* op, Interpreter v)
    {
        s->FlagCarryOverflow &= ~CpuFlags.Cf;
        return op + 1;
    }

    internal static DecodedOp* Stc(CpuState* s, DecodedOp* op, Interpreter v)
    {
        s->FlagCarryOverflow |= CpuFlags.Cf;
        return op + 1;
    }

    internal static DecodedOp* Cmc(CpuState* s, DecodedOp* op, Interpreter v)
    {
        s->FlagCarryOverflow ^= CpuFlags.Cf;
        return op + 1;
    }

    internal static DecodedOp* Cld(CpuState* s, DecodedOp* op, Interpreter v)
    {
        s->FlagSystem &= ~CpuFlags.Df;
        return op + 1;
    }

    internal static DecodedOp* Std(CpuState* s, DecodedOp* op, Interpreter v)
    {
        s->FlagSystem |= CpuFlags.Df;
        return op + 1;
    }

    internal static DecodedOp* Lahf(CpuState* s, DecodedOp* op, Interpreter v)
    {
        *((byte*)s->Gpr + 1) = (byte)s->Flags;
        return op + 1;
    }

    internal static DecodedOp* Sahf(CpuState* s, DecodedOp* op, Interpreter v)
    {
        const ulong Loaded = CpuFlags.Sf | CpuFlags.Zf | CpuFlags.Af | CpuFlags.Pf | CpuFlags.Cf;
        s->StatusFlags = (*((byte*)s->Gpr + 1) & Loaded) | (s->FlagCarryOverflow & CpuFlags.Of);
        return op + 1;
    }

    internal static DecodedOp* Salc(CpuState* s, DecodedOp* op, Interpreter v)
    {
        *(byte*)s->Gpr = (s->FlagCarryOverflow & CpuFlags.Cf) != 0 ? (byte)0xFF : (byte)0;
        return op + 1;
    }

    internal static DecodedOp* Cli(CpuState* s, DecodedOp* op, Interpreter v)
    {
        if (s->Cpl == 0)
            s->FlagSystem &= ~CpuFlags.If;
        else
            FlagInstructions.Cli(v.Cpu);
        return op + 1;
    }

    internal static DecodedOp* Sti(CpuState* s, DecodedOp* op, Interpreter v)
    {
        // With nothing pending the shadow cannot be seen, as long as the next instruction is part of this block.
        if (s->Cpl == 0 && (s->PendingEvents | s->HeldInterrupt) == 0 && op[1].Length != 0)
        {
            s->FlagSystem |= CpuFlags.If;
            return op + 1;
        }

        v.EnterSystem(op);
        FlagInstructions.Sti(v.Cpu);
        return v.LeaveSystem(op);
    }

    internal static DecodedOp* Stac(CpuState* s, DecodedOp* op, Interpreter v) => SetAlignment(s, op, v, CpuFlags.Ac);

    internal static DecodedOp* Clac(CpuState* s, DecodedOp* op, Interpreter v) => SetAlignment(s, op, v, 0);

    /// <summary>PAUSE: a vCPU that goes on spinning lets the host run another thread, which may be the one it waits for.</summary>
    internal static DecodedOp* Pause(CpuState* s, DecodedOp* op, Interpreter v)
    {
        const int PausesBeforeYield = 32;
        if (v.Cpu.CpuCount > 1 && ++v.Cpu.Pauses == PausesBeforeYield)
        {
            v.Cpu.Pauses = 0;
            _ = Thread.Yield();
        }

        return op + 1;
    }

    internal static DecodedOp* Hlt(CpuState* s, DecodedOp* op, Interpreter v)
    {
        if (s->Cpl != 0)
            throw v.Cpu.GeneralProtection();
        v.EnterSystem(op);
        s->Activity = ActivityState.Halted;
        return v.LeaveSystem(op);
    }

    /// <summary>IN; Extra tells DX from an immediate port.</summary>
    internal static DecodedOp* In(CpuState* s, DecodedOp* op, Interpreter v)
    {
        ushort port = op->Extra != 0 ? (ushort)s->Gpr[2] : (byte)op->Immediate;
        v.EnterSystem(op);
        IoPermission.Check(v.Cpu, port, op->OperandSize);
        ulong value = v.Cpu.Ports.Read(port, op->OperandSize);
        if (op->OperandSize == 1)
            *(byte*)s->Gpr = (byte)value;
        else if (op->OperandSize == 2)
            Size16.StoreRegister(s->Gpr, value);
        else
            Size32.StoreRegister(s->Gpr, value);
        return AfterIo(s, op, v, port);
    }

    /// <summary>OUT; Extra tells DX from an immediate port.</summary>
    internal static DecodedOp* Out(CpuState* s, DecodedOp* op, Interpreter v)
    {
        ushort port = op->Extra != 0 ? (ushort)s->Gpr[2] : (byte)op->Immediate;
        v.EnterSystem(op);
        IoPermission.Check(v.Cpu, port, op->OperandSize);
        ulong mask = op->OperandSize == 4 ? uint.MaxValue : (1u << (op->OperandSize * 8)) - 1;
        v.Cpu.Ports.Write(port, op->OperandSize, s->Gpr[0] & mask);
        return AfterIo(s, op, v, port);
    }

    internal static DecodedOp* CpuId(CpuState* s, DecodedOp* op, Interpreter v)
    {
        CpuidResult result = Cpuid.Query(v.Cpu, (uint)s->Gpr[0], (uint)s->Gpr[1]);
        s->Gpr[0] = result.Eax;
        s->Gpr[3] = result.Ebx;
        s->Gpr[1] = result.Ecx;
        s->Gpr[2] = result.Edx;
        return op + 1;
    }

    internal static DecodedOp* Rdtsc(CpuState* s, DecodedOp* op, Interpreter v)
    {
        v.EnterSystem(op);
        ulong value = TimeStampCounter.Rdtsc(v.Cpu);
        s->Gpr[0] = (uint)value;
        s->Gpr[2] = value >> 32;
        return op + 1;
    }

    internal static DecodedOp* Rdtscp(CpuState* s, DecodedOp* op, Interpreter v)
    {
        v.EnterSystem(op);
        (ulong value, uint aux) = TimeStampCounter.Rdtscp(v.Cpu);
        s->Gpr[0] = (uint)value;
        s->Gpr[2] = value >> 32;
        s->Gpr[1] = aux;
        return op + 1;
    }

    internal static DecodedOp* Rdmsr(CpuState* s, DecodedOp* op, Interpreter v)
    {
        v.EnterSystem(op);
        ulong value = Msrs.Read(v.Cpu, (uint)s->Gpr[1]);
        s->Gpr[0] = (uint)value;
        s->Gpr[2] = value >> 32;
        return op + 1;
    }

    internal static DecodedOp* Wrmsr(CpuState* s, DecodedOp* op, Interpreter v)
    {
        v.EnterSystem(op);
        Msrs.Write(v.Cpu, (uint)s->Gpr[1], (uint)s->Gpr[0] | (s->Gpr[2] << 32));
        return v.LeaveSystem(op);
    }

    internal static DecodedOp* Rdpmc(CpuState* s, DecodedOp* op, Interpreter v)
    {
        ulong value = PerformanceCounters.Rdpmc(v.Cpu, (uint)s->Gpr[1]);
        s->Gpr[0] = (uint)value;
        s->Gpr[2] = value >> 32;
        return op + 1;
    }

    /// <summary>MOV from a control register; Extra is its number.</summary>
    internal static DecodedOp* ReadControl(CpuState* s, DecodedOp* op, Interpreter v)
    {
        v.EnterSystem(op);
        StoreSystemRegister(s, op, ControlRegisters.Read(v.Cpu, op->Extra));
        return op + 1;
    }

    /// <summary>MOV to a control register; Extra is its number.</summary>
    internal static DecodedOp* WriteControl(CpuState* s, DecodedOp* op, Interpreter v)
    {
        v.EnterSystem(op);
        ulong value = *(ulong*)Operand.Register(s, op->Source);
        ControlRegisters.Write(v.Cpu, op->Extra, s->Is64Bit ? value : (uint)value);
        return v.LeaveSystem(op);
    }

    internal static DecodedOp* ReadDebug(CpuState* s, DecodedOp* op, Interpreter v)
    {
        v.EnterSystem(op);
        StoreSystemRegister(s, op, DebugRegisters.Read(v.Cpu, op->Extra));
        return op + 1;
    }

    internal static DecodedOp* WriteDebug(CpuState* s, DecodedOp* op, Interpreter v)
    {
        v.EnterSystem(op);
        ulong value = *(ulong*)Operand.Register(s, op->Source);
        DebugRegisters.Write(v.Cpu, op->Extra, s->Is64Bit ? value : (uint)value);
        return v.LeaveSystem(op);
    }

    internal static DecodedOp* Lmsw(CpuState* s, DecodedOp* op, Interpreter v)
    {
        v.EnterSystem(op);
        ulong value = op->Destination == OpBuilder.NoRegister ? Operand.Read<Size16>(s, op, v) : *(ushort*)Operand.Register(s, op->Destination);
        ControlRegisters.Lmsw(v.Cpu, (ushort)value);
        return v.LeaveSystem(op);
    }

    internal static DecodedOp* Clts(CpuState* s, DecodedOp* op, Interpreter v)
    {
        v.EnterSystem(op);
        ControlRegisters.Clts(v.Cpu);
        return v.LeaveSystem(op);
    }

    internal static DecodedOp* Invlpg(CpuState* s, DecodedOp* op, Interpreter v)
    {
        v.EnterSystem(op);
        ulong address = Operand.EffectiveAddress(s, op);
        ulong linear = op->Kind switch
        {
            AddressKind.Flat => address + *(ulong*)((byte*)s + op->SegmentBase),
            AddressKind.Flat32 => (uint)address + *(ulong*)((byte*)s + op->SegmentBase),
            AddressKind.Segmented16 => (uint)(s->SegmentAt(op->Segment8)->Base + (ushort)address),
            _ => (uint)(s->SegmentAt(op->Segment8)->Base + address),
        };
        ControlRegisters.Invlpg(v.Cpu, linear);
        return v.LeaveSystem(op);
    }

    internal static DecodedOp* Invpcid(CpuState* s, DecodedOp* op, Interpreter v)
    {
        v.EnterSystem(op);
        ulong address = Operand.Linear(s, op, v, 16, write: false);
        bool isStack = op->Segment8 == Segment.Ss;
        ulong type = *(ulong*)Operand.Register(s, op->Destination);
        ulong low = v.Cpu.Linear.Read<ulong>(address, isStack);
        ulong high = v.Cpu.Linear.Read<ulong>(address + 8, isStack);
        ControlRegisters.Invpcid(v.Cpu, s->Is64Bit ? type : (uint)type, low, high);
        return v.LeaveSystem(op);
    }

    internal static DecodedOp* Wbinvd(CpuState* s, DecodedOp* op, Interpreter v)
    {
        if (s->Cpl != 0)
            throw v.Cpu.GeneralProtection();
        v.EnterSystem(op);
        return v.LeaveSystem(op);
    }

    internal static DecodedOp* Syscall(CpuState* s, DecodedOp* op, Interpreter v)
    {
        v.EnterSystem(op);
        SystemCalls.Syscall(v.Cpu);
        return v.LeaveSystem(op);
    }

    internal static DecodedOp* Sysret(CpuState* s, DecodedOp* op, Interpreter v)
    {
        v.EnterSystem(op);
        SystemCalls.Sysret(v.Cpu, op->OperandSize);
        return v.LeaveSystem(op);
    }

    internal static DecodedOp* Sysenter(CpuState* s, DecodedOp* op, Interpreter v)
    {
        v.EnterSystem(op);
        SystemCalls.Sysenter(v.Cpu);
        return v.LeaveSystem(op);
    }

    internal static DecodedOp* Sysexit(CpuState* s, DecodedOp* op, Interpreter v)
    {
        v.EnterSystem(op);
        SystemCalls.Sysexit(v.Cpu, op->OperandSize);
        return v.LeaveSystem(op);
    }

    internal static DecodedOp* Swapgs(CpuState* s, DecodedOp* op, Interpreter v)
    {
        SystemCalls.SwapGs(v.Cpu);
        return op + 1;
    }

    /// <summary>RDFSBASE, RDGSBASE, WRFSBASE, WRGSBASE; Extra: bit 0 GS, bit 1 write.</summary>
    internal static DecodedOp* SegmentBase(CpuState* s, DecodedOp* op, Interpreter v)
    {
        Segment segment = (op->Extra & 1) != 0 ? Segment.Gs : Segment.Fs;
        ulong* register = (ulong*)Operand.Register(s, op->Destination);
        bool isWide = op->OperandSize == 8;
        if ((op->Extra & 2) != 0)
        {
            FsGsBase.Write(v.Cpu, segment, isWide ? *register : (uint)*register);
            return op + 1;
        }

        ulong value = FsGsBase.Read(v.Cpu, segment);
        *register = isWide ? value : (uint)value;
        return op + 1;
    }

    internal static DecodedOp* Rdpid(CpuState* s, DecodedOp* op, Interpreter v)
    {
        *(ulong*)Operand.Register(s, op->Destination) = TimeStampCounter.Rdpid(v.Cpu);
        return op + 1;
    }

    internal static DecodedOp* Random(CpuState* s, DecodedOp* op, Interpreter v)
    {
        ulong value = v.NextRandom();
        byte* destination = Operand.Register(s, op->Destination);
        if (op->OperandSize == 2)
            Size16.StoreRegister(destination, value);
        else if (op->OperandSize == 4)
            Size32.StoreRegister(destination, value);
        else
            Size64.StoreRegister(destination, value);
        s->StatusFlags = CpuFlags.Cf;
        return op + 1;
    }

    internal static DecodedOp* Xgetbv(CpuState* s, DecodedOp* op, Interpreter v)
    {
        ulong value = ControlRegisters.Xgetbv(v.Cpu, (uint)s->Gpr[1]);
        s->Gpr[0] = (uint)value;
        s->Gpr[2] = value >> 32;
        return op + 1;
    }

    internal static DecodedOp* Xsetbv(CpuState* s, DecodedOp* op, Interpreter v)
    {
        v.EnterSystem(op);
        ControlRegisters.Xsetbv(v.Cpu, (uint)s->Gpr[1], (uint)s->Gpr[0] | (s->Gpr[2] << 32));
        return v.LeaveSystem(op);
    }

    /// <summary>BOUND: two signed limits in memory.</summary>
    internal static DecodedOp* Bound(CpuState* s, DecodedOp* op, Interpreter v)
    {
        int size = op->OperandSize;
        ulong address = Operand.Linear(s, op, v, size * 2, write: false);
        long value, low, high;
        if (size == 2)
        {
            value = *(short*)Operand.Register(s, op->Destination);
            low = (short)Operand.ReadLinear<Size16>(s, op, v, address);
            high = (short)Operand.ReadLinear<Size16>(s, op, v, address + 2);
        }
        else
        {
            value = *(int*)Operand.Register(s, op->Destination);
            low = (int)Operand.ReadLinear<Size32>(s, op, v, address);
            high = (int)Operand.ReadLinear<Size32>(s, op, v, address + 4);
        }

        if (value < low || value > high)
            throw v.Cpu.Fault(ExceptionVector.BoundRange);
        return op + 1;
    }

    /// <summary>FXSAVE, FXRSTOR and the XSAVE family; Extra is an <see cref="ExtendedStateOperation"/>, OperandSize 8 the 64-bit form.</summary>
    internal static DecodedOp* ExtendedState(CpuState* s, DecodedOp* op, Interpreter v)
    {
        v.EnterSystem(op);
        ulong address = Operand.Linear(s, op, v, 1, write: false);
        bool wide = op->OperandSize == 8;
        switch ((ExtendedStateOperation)op->Extra)
        {
            case ExtendedStateOperation.Fxsave:
                XsaveInstructions.Fxsave(v.Cpu, address, wide);
                break;
            case ExtendedStateOperation.Fxrstor:
                XsaveInstructions.Fxrstor(v.Cpu, address, wide);
                break;
            case ExtendedStateOperation.Xsave:
                XsaveInstructions.Xsave(v.Cpu, address, wide);
                break;
            case ExtendedStateOperation.Xsaveopt:
                XsaveInstructions.Xsaveopt(v.Cpu, address, wide);
                break;
            case ExtendedStateOperation.Xsavec:
                XsaveInstructions.Xsavec(v.Cpu, address, wide);
                break;
            case ExtendedStateOperation.Xsaves:
                XsaveInstructions.Xsaves(v.Cpu, address, wide);
                break;
            case ExtendedStateOperation.Xrstor:
                XsaveInstructions.Xrstor(v.Cpu, address, wide);
                break;
            default:
                XsaveInstructions.Xrstors(v.Cpu, address, wide);
                break;
        }

        return op + 1;
    }

    private static DecodedOp* SetAlignment(CpuState* s, DecodedOp* op, Interpreter v, ulong value)
    {
        if (s->Cpl != 0)
            throw v.Cpu.InvalidOpcode();
        s->FlagSystem = (s->FlagSystem & ~CpuFlags.Ac) | value;
        v.Cpu.ModeChanged();
        return op + 1;
    }

    // Outside 64-bit mode the register is 32 bits wide; either way all 64 are written.
    private static void StoreSystemRegister(CpuState* s, DecodedOp* op, ulong value) =>
        *(ulong*)Operand.Register(s, op->Destination) = s->Is64Bit ? value : (uint)value;

    private static DecodedOp* AfterIo(CpuState* s, DecodedOp* op, Interpreter v, ushort port)
    {
        v.Cpu.NotePortAccess(port, op->OperandSize);
        return v.ContinueOrLeave(op);
    }
}
