using System.Runtime.CompilerServices;
using Doppel.Machine.Cpu.Events;
using Doppel.Machine.Cpu.Segments;
using Iced.Intel;

namespace Doppel.Machine.Cpu.Interpreter.Handlers;

/// <summary>Near and far jumps, calls and returns, loops, software interrupts.</summary>
internal static unsafe class BranchHandlers
{
    /// <summary>
    /// A taken relative branch: goes straight on to a target in the same page that was resolved before, unless an event
    /// is pending or the instruction budget is near its end.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static DecodedOp* Take(CpuState* s, DecodedOp* op, Interpreter v)
    {
        s->InstructionsRetired += op->Position + 1u;
        DecodedOp* target = op->Target;
        return target != null && s->PendingEvents == 0 && s->InstructionsRetired < v.ChainLimit
            ? target
            : TakeSlow(s, op, v);
    }

    internal static DecodedOp* Jump(CpuState* s, DecodedOp* op, Interpreter v) => Take(s, op, v);

    /// <summary>The mark at the end of a block that ended without a branch: goes on with the next instruction.</summary>
    internal static DecodedOp* EndOfBlock(CpuState* s, DecodedOp* op, Interpreter v)
    {
        s->InstructionsRetired += op->Position;
        s->Rip = v.RipOf(op);
        return null;
    }

    /// <summary>Replaces the handlers of code that was overwritten: leaves the block before this instruction.</summary>
    internal static DecodedOp* Stale(CpuState* s, DecodedOp* op, Interpreter v) => EndOfBlock(s, op, v);

    internal static void SelectJump(in Instruction instruction, DecodedOp* op)
    {
        switch (instruction.Op0Kind)
        {
            case OpKind.NearBranch16:
            case OpKind.NearBranch32:
            case OpKind.NearBranch64:
                op->Handler = &Jump;
                break;
            case OpKind.FarBranch16:
            case OpKind.FarBranch32:
                op->Handler = &JumpFarImmediate;
                break;
            default:
                op->Handler = IsFar(instruction) ? &JumpFarMemory : &JumpIndirect;
                break;
        }
    }

    internal static void SelectCall(in Instruction instruction, DecodedOp* op, bool is64)
    {
        switch (instruction.Op0Kind)
        {
            case OpKind.NearBranch16:
            case OpKind.NearBranch32:
            case OpKind.NearBranch64:
                op->Handler = is64 && op->OperandSize == 8 ? &Call64 : &Call;
                break;
            case OpKind.FarBranch16:
            case OpKind.FarBranch32:
                op->Handler = &CallFarImmediate;
                break;
            default:
                op->Handler = IsFar(instruction) ? &CallFarMemory : &CallIndirect;
                break;
        }
    }

    internal static DecodedOp* Return64(CpuState* s, DecodedOp* op, Interpreter v)
    {
        ulong rsp = s->Gpr[4];
        ulong target = v.Cpu.Linear.Read<ulong>(rsp, isStack: true);
        CheckTarget(s, v, target);
        s->Gpr[4] = rsp + 8 + op->Immediate;
        s->Rip = target;
        s->InstructionsRetired += op->Position + 1u;
        return null;
    }

    internal static DecodedOp* Return(CpuState* s, DecodedOp* op, Interpreter v)
    {
        ulong target = StackHandlers.Peek(s, v, op->OperandSize, 0);
        CheckTarget(s, v, target);
        StackHandlers.AdjustPointer(s, op->OperandSize + (int)op->Immediate);
        s->Rip = target;
        s->InstructionsRetired += op->Position + 1u;
        return null;
    }

    internal static DecodedOp* ReturnFar(CpuState* s, DecodedOp* op, Interpreter v)
    {
        v.EnterSystem(op);
        FarTransfers.Return(v.Cpu, op->OperandSize, (int)op->Immediate);
        return v.LeaveSystem(op);
    }

    internal static DecodedOp* InterruptReturn(CpuState* s, DecodedOp* op, Interpreter v)
    {
        v.EnterSystem(op);
        Segments.InterruptReturn.Execute(v.Cpu, op->OperandSize);
        v.LoadedFlags = true;
        return v.LeaveSystem(op);
    }

    internal static DecodedOp* Loop(CpuState* s, DecodedOp* op, Interpreter v)
    {
        ulong count = CountMinusOne(s, op);
        if (!LoopHolds(s, op, count))
        {
            StoreCount(s, op, count);
            return op + 1;
        }

        CheckRelative(s, op, v);
        StoreCount(s, op, count);
        return Take(s, op, v);
    }

    internal static DecodedOp* JumpIfCountZero(CpuState* s, DecodedOp* op, Interpreter v)
    {
        ulong count = op->AddressSize switch
        {
            2 => (ushort)s->Gpr[1],
            4 => (uint)s->Gpr[1],
            _ => s->Gpr[1],
        };
        return count == 0 ? Take(s, op, v) : op + 1;
    }

    internal static DecodedOp* Int(CpuState* s, DecodedOp* op, Interpreter v) => Software(op, v, (int)op->Immediate, SoftwareInterruptKind.Int);

    internal static DecodedOp* Int3(CpuState* s, DecodedOp* op, Interpreter v) => Software(op, v, 3, SoftwareInterruptKind.Int3);

    internal static DecodedOp* Int1(CpuState* s, DecodedOp* op, Interpreter v) => Software(op, v, 1, SoftwareInterruptKind.Int1);

    internal static DecodedOp* Into(CpuState* s, DecodedOp* op, Interpreter v) =>
        (s->FlagCarryOverflow & CpuFlags.Of) != 0 ? Software(op, v, 4, SoftwareInterruptKind.Into) : op + 1;

    /// <summary>#GP when a near transfer goes to a non-canonical address or beyond the limit of CS.</summary>
    internal static void CheckTarget(CpuState* s, Interpreter v, ulong target)
    {
        if (s->Is64Bit)
        {
            if (!Mmu.LinearMemory.IsCanonical(target))
                throw v.Cpu.GeneralProtection();
        }
        else if (target > s->Cs.Limit)
        {
            throw v.Cpu.GeneralProtection();
        }
    }

    /// <summary>The target of a relative branch, truncated to the operand size.</summary>
    internal static ulong RelativeTarget(DecodedOp* op, Interpreter v)
    {
        ulong target = v.NextRip(op) + op->Immediate;
        return op->OperandSize switch
        {
            2 => (ushort)target,
            4 => (uint)target,
            _ => target,
        };
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    private static DecodedOp* TakeSlow(CpuState* s, DecodedOp* op, Interpreter v)
    {
        ulong target = RelativeTarget(op, v);
        if (op->Target == null)
        {
            try
            {
                CheckTarget(s, v, target);
            }
            catch (GuestFault)
            {
                // Take has counted the branch as retired; a branch that faults has not.
                s->InstructionsRetired -= op->Position + 1u;
                throw;
            }

            op->Target = v.ResolveInPage(op, target);
        }

        s->Rip = target;
        return null;
    }

    private static void CheckRelative(CpuState* s, DecodedOp* op, Interpreter v) => CheckTarget(s, v, RelativeTarget(op, v));

    private static DecodedOp* Call64(CpuState* s, DecodedOp* op, Interpreter v)
    {
        if (op->Target == null)
            CheckRelative(s, op, v);
        ulong rsp = s->Gpr[4] - 8;
        v.Cpu.Linear.Write(rsp, v.NextRip(op), isStack: true);
        s->Gpr[4] = rsp;
        return Take(s, op, v);
    }

    private static DecodedOp* Call(CpuState* s, DecodedOp* op, Interpreter v)
    {
        CheckRelative(s, op, v);
        StackHandlers.Push(s, v, op->OperandSize, v.NextRip(op));
        return Take(s, op, v);
    }

    private static ulong IndirectTarget(CpuState* s, DecodedOp* op, Interpreter v)
    {
        ulong target;
        if (op->Extra != 0)
        {
            target = op->OperandSize switch
            {
                2 => Operand.Read<Size16>(s, op, v),
                4 => Operand.Read<Size32>(s, op, v),
                _ => Operand.Read<Size64>(s, op, v),
            };
        }
        else
        {
            ulong register = *(ulong*)Operand.Register(s, op->Destination);
            target = op->OperandSize switch
            {
                2 => (ushort)register,
                4 => (uint)register,
                _ => register,
            };
        }

        CheckTarget(s, v, target);
        return target;
    }

    private static DecodedOp* JumpIndirect(CpuState* s, DecodedOp* op, Interpreter v)
    {
        s->Rip = IndirectTarget(s, op, v);
        s->InstructionsRetired += op->Position + 1u;
        return null;
    }

    private static DecodedOp* CallIndirect(CpuState* s, DecodedOp* op, Interpreter v)
    {
        ulong target = IndirectTarget(s, op, v);
        StackHandlers.Push(s, v, op->OperandSize, v.NextRip(op));
        s->Rip = target;
        s->InstructionsRetired += op->Position + 1u;
        return null;
    }

    private static bool IsFar(in Instruction instruction) => instruction.MemorySize is MemorySize.SegPtr16 or MemorySize.SegPtr32 or MemorySize.SegPtr64;

    // Immediate holds the offset in its low half and the selector from bit 32 on.
    private static DecodedOp* JumpFarImmediate(CpuState* s, DecodedOp* op, Interpreter v)
    {
        v.EnterSystem(op);
        FarTransfers.Jump(v.Cpu, (ushort)(op->Immediate >> 32), (uint)op->Immediate, op->OperandSize);
        return v.LeaveSystem(op);
    }

    private static DecodedOp* CallFarImmediate(CpuState* s, DecodedOp* op, Interpreter v)
    {
        v.EnterSystem(op);
        FarTransfers.Call(v.Cpu, (ushort)(op->Immediate >> 32), (uint)op->Immediate, op->OperandSize);
        return v.LeaveSystem(op);
    }

    private static DecodedOp* JumpFarMemory(CpuState* s, DecodedOp* op, Interpreter v)
    {
        v.EnterSystem(op);
        FarPointer(s, op, v, out ushort selector, out ulong offset);
        FarTransfers.Jump(v.Cpu, selector, offset, op->OperandSize);
        return v.LeaveSystem(op);
    }

    private static DecodedOp* CallFarMemory(CpuState* s, DecodedOp* op, Interpreter v)
    {
        v.EnterSystem(op);
        FarPointer(s, op, v, out ushort selector, out ulong offset);
        FarTransfers.Call(v.Cpu, selector, offset, op->OperandSize);
        return v.LeaveSystem(op);
    }

    /// <summary>Reads the far pointer that the memory operand is: an offset of the operand size and a selector.</summary>
    internal static void FarPointer(CpuState* s, DecodedOp* op, Interpreter v, out ushort selector, out ulong offset)
    {
        int size = op->OperandSize;
        ulong address = Operand.Linear(s, op, v, size + 2, write: false);
        bool isStack = op->Segment8 == Segment.Ss;
        offset = size switch
        {
            2 => v.Cpu.Linear.Read<ushort>(address, isStack),
            4 => v.Cpu.Linear.Read<uint>(address, isStack),
            _ => v.Cpu.Linear.Read<ulong>(address, isStack),
        };
        selector = v.Cpu.Linear.Read<ushort>(address + (uint)size, isStack);
    }

    private static ulong CountMinusOne(CpuState* s, DecodedOp* op) => op->AddressSize switch
    {
        2 => (ushort)(s->Gpr[1] - 1),
        4 => (uint)(s->Gpr[1] - 1),
        _ => s->Gpr[1] - 1,
    };

    private static void StoreCount(CpuState* s, DecodedOp* op, ulong count)
    {
        if (op->AddressSize == 2)
            Size16.StoreRegister(s->Gpr + 1, count);
        else
            s->Gpr[1] = count;
    }

    // Extra: 0 LOOP, 1 LOOPE, 2 LOOPNE.
    private static bool LoopHolds(CpuState* s, DecodedOp* op, ulong count) => count != 0 && op->Extra switch
    {
        1 => s->FlagZero == 0,
        2 => s->FlagZero != 0,
        _ => true,
    };

    private static DecodedOp* Software(DecodedOp* op, Interpreter v, int vector, SoftwareInterruptKind kind)
    {
        v.EnterSystem(op);
        EventDelivery.DeliverSoftware(v.Cpu, vector, kind);
        return v.LeaveSystem(op);
    }
}
