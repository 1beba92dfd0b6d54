using Iced.Intel;

namespace Doppel.Machine.Cpu.Interpreter.Handlers;

/// <summary>ADD, ADC, SUB, SBB, CMP, AND, OR, XOR, TEST in every form and width.</summary>
internal static unsafe class AluHandlers
{
    /// <summary>Chooses the handler for an instruction whose operands are already in the operation.</summary>
    internal static void Select<TOperation>(in Instruction instruction, DecodedOp* op)
        where TOperation : struct, IAluOperation
    {
        switch (op->OperandSize)
        {
            case 1:
                Select<TOperation, Size8>(instruction, op);
                break;
            case 2:
                Select<TOperation, Size16>(instruction, op);
                break;
            case 4:
                Select<TOperation, Size32>(instruction, op);
                break;
            default:
                Select<TOperation, Size64>(instruction, op);
                break;
        }
    }

    private static void Select<TOperation, TSize>(in Instruction instruction, DecodedOp* op)
        where TOperation : struct, IAluOperation
        where TSize : struct, IOperandSize
    {
        bool isImmediate = instruction.Op1Kind is not (OpKind.Register or OpKind.Memory);
        op->Immediate &= TSize.Mask;
        if (instruction.Op0Kind == OpKind.Memory)
        {
            if (instruction.HasLockPrefix)
                op->Handler = isImmediate ? &LockedImmediate<TOperation, TSize> : &LockedRegister<TOperation, TSize>;
            else
                op->Handler = isImmediate ? &MemoryImmediate<TOperation, TSize> : &MemoryRegister<TOperation, TSize>;
        }
        else if (instruction.Op1Kind == OpKind.Memory)
        {
            op->Handler = &RegisterMemory<TOperation, TSize>;
        }
        else
        {
            op->Handler = isImmediate ? &RegisterImmediate<TOperation, TSize> : &RegisterRegister<TOperation, TSize>;
        }
    }

    private static DecodedOp* RegisterRegister<TOperation, TSize>(CpuState* s, DecodedOp* op, Interpreter v)
        where TOperation : struct, IAluOperation
        where TSize : struct, IOperandSize
    {
        byte* destination = Operand.Register(s, op->Destination);
        ulong result = TOperation.Compute<TSize>(s, TSize.Load(destination), TSize.Load(Operand.Register(s, op->Source)));
        if (TOperation.Writes)
            TSize.StoreRegister(destination, result);
        return op + 1;
    }

    private static DecodedOp* RegisterImmediate<TOperation, TSize>(CpuState* s, DecodedOp* op, Interpreter v)
        where TOperation : struct, IAluOperation
        where TSize : struct, IOperandSize
    {
        byte* destination = Operand.Register(s, op->Destination);
        ulong result = TOperation.Compute<TSize>(s, TSize.Load(destination), op->Immediate);
        if (TOperation.Writes)
            TSize.StoreRegister(destination, result);
        return op + 1;
    }

    private static DecodedOp* RegisterMemory<TOperation, TSize>(CpuState* s, DecodedOp* op, Interpreter v)
        where TOperation : struct, IAluOperation
        where TSize : struct, IOperandSize
    {
        ulong b = Operand.Read<TSize>(s, op, v);
        byte* destination = Operand.Register(s, op->Destination);
        ulong result = TOperation.Compute<TSize>(s, TSize.Load(destination), b);
        if (TOperation.Writes)
            TSize.StoreRegister(destination, result);
        return op + 1;
    }

    private static DecodedOp* MemoryRegister<TOperation, TSize>(CpuState* s, DecodedOp* op, Interpreter v)
        where TOperation : struct, IAluOperation
        where TSize : struct, IOperandSize
    {
        Update<TOperation, TSize>(s, op, v, TSize.Load(Operand.Register(s, op->Source)));
        return op + 1;
    }

    private static DecodedOp* MemoryImmediate<TOperation, TSize>(CpuState* s, DecodedOp* op, Interpreter v)
        where TOperation : struct, IAluOperation
        where TSize : struct, IOperandSize
    {
        Update<TOperation, TSize>(s, op, v, op->Immediate);
        return op + 1;
    }

    private static void Update<TOperation, TSize>(CpuState* s, DecodedOp* op, Interpreter v, ulong b)
        where TOperation : struct, IAluOperation
        where TSize : struct, IOperandSize
    {
        if (!TOperation.Writes)
        {
            _ = TOperation.Compute<TSize>(s, Operand.Read<TSize>(s, op, v), b);
            return;
        }

        ulong address = Operand.Linear(s, op, v, TSize.Bytes, write: true);
        byte* host = Operand.UpdatePointer<TSize>(s, address);
        if (host != null)
        {
            TSize.Store(host, TOperation.Compute<TSize>(s, TSize.Load(host), b));
            return;
        }

        v.Cpu.Linear.ProbeWrite(address, TSize.Bytes, op->Segment8 == Segment.Ss);
        ulong a = Operand.ReadLinear<TSize>(s, op, v, address);
        Operand.WriteLinear<TSize>(s, op, v, address, TOperation.Compute<TSize>(s, a, b));
    }

    private static DecodedOp* LockedRegister<TOperation, TSize>(CpuState* s, DecodedOp* op, Interpreter v)
        where TOperation : struct, IAluOperation
        where TSize : struct, IOperandSize
    {
        Locked<TOperation, TSize>(s, op, v, TSize.Load(Operand.Register(s, op->Source)));
        return op + 1;
    }

    private static DecodedOp* LockedImmediate<TOperation, TSize>(CpuState* s, DecodedOp* op, Interpreter v)
        where TOperation : struct, IAluOperation
        where TSize : struct, IOperandSize
    {
        Locked<TOperation, TSize>(s, op, v, op->Immediate);
        return op + 1;
    }

    private static void Locked<TOperation, TSize>(CpuState* s, DecodedOp* op, Interpreter v, ulong b)
        where TOperation : struct, IAluOperation
        where TSize : struct, IOperandSize
    {
        var update = new LockedUpdate<TSize>(s, op, v);
        ulong carryIn = s->FlagCarryOverflow;
        do
        {
            s->FlagCarryOverflow = carryIn;
        }
        while (!update.TryCommit(TOperation.Compute<TSize>(s, update.Old, b)));
        update.Finish();
    }
}
