using Iced.Intel;

namespace Doppel.Machine.Cpu.Interpreter.Handlers;

/// <summary>Jcc, SETcc and CMOVcc.</summary>
internal static unsafe class ConditionHandlers
{
    internal enum Use
    {
        Jump,
        Set,
        Move,
    }

    internal static void Select(in Instruction instruction, DecodedOp* op, Use use)
    {
        switch (instruction.ConditionCode)
        {
            case ConditionCode.o:
                Select<Overflow>(instruction, op, use);
                break;
            case ConditionCode.no:
                Select<Not<Overflow>>(instruction, op, use);
                break;
            case ConditionCode.b:
                Select<Below>(instruction, op, use);
                break;
            case ConditionCode.ae:
                Select<Not<Below>>(instruction, op, use);
                break;
            case ConditionCode.e:
                Select<Equal>(instruction, op, use);
                break;
            case ConditionCode.ne:
                Select<Not<Equal>>(instruction, op, use);
                break;
            case ConditionCode.be:
                Select<BelowOrEqual>(instruction, op, use);
                break;
            case ConditionCode.a:
                Select<Not<BelowOrEqual>>(instruction, op, use);
                break;
            case ConditionCode.s:
                Select<Sign>(instruction, op, use);
                break;
            case ConditionCode.ns:
                Select<Not<Sign>>(instruction, op, use);
                break;
            case ConditionCode.p:
                Select<Parity>(instruction, op, use);
                break;
            case ConditionCode.np:
                Select<Not<Parity>>(instruction, op, use);
                break;
            case ConditionCode.l:
                Select<Less>(instruction, op, use);
                break;
            case ConditionCode.ge:
                Select<Not<Less>>(instruction, op, use);
                break;
            case ConditionCode.le:
                Select<LessOrEqual>(instruction, op, use);
                break;
            default:
                Select<Not<LessOrEqual>>(instruction, op, use);
                break;
        }
    }

    private static void Select<TCondition>(in Instruction instruction, DecodedOp* op, Use use)
        where TCondition : struct, ICondition
    {
        switch (use)
        {
            case Use.Jump:
                op->Handler = &Jump<TCondition>;
                break;
            case Use.Set:
                op->Handler = instruction.Op0Kind == OpKind.Memory ? &SetMemory<TCondition> : &SetRegister<TCondition>;
                break;
            default:
                bool onMemory = instruction.Op1Kind == OpKind.Memory;
                op->Handler = (onMemory, op->OperandSize) switch
                {
                    (false, 2) => &MoveRegister<TCondition, Size16>,
                    (false, 4) => &MoveRegister<TCondition, Size32>,
                    (false, _) => &MoveRegister<TCondition, Size64>,
                    (true, 2) => &MoveMemory<TCondition, Size16>,
                    (true, 4) => &MoveMemory<TCondition, Size32>,
                    (true, _) => &MoveMemory<TCondition, Size64>,
                };
                break;
        }
    }

    private static DecodedOp* Jump<TCondition>(CpuState* s, DecodedOp* op, Interpreter v)
        where TCondition : struct, ICondition =>
        TCondition.Holds(s) ? BranchHandlers.Take(s, op, v) : op + 1;

    private static DecodedOp* SetRegister<TCondition>(CpuState* s, DecodedOp* op, Interpreter v)
        where TCondition : struct, ICondition
    {
        *Operand.Register(s, op->Destination) = TCondition.Holds(s) ? (byte)1 : (byte)0;
        return op + 1;
    }

    private static DecodedOp* SetMemory<TCondition>(CpuState* s, DecodedOp* op, Interpreter v)
        where TCondition : struct, ICondition
    {
        Operand.Write<Size8>(s, op, v, TCondition.Holds(s) ? 1u : 0u);
        return op + 1;
    }

    // The 32-bit form clears the upper half of the destination even when the condition does not hold.
    private static DecodedOp* MoveRegister<TCondition, TSize>(CpuState* s, DecodedOp* op, Interpreter v)
        where TCondition : struct, ICondition
        where TSize : struct, IOperandSize
    {
        byte* destination = Operand.Register(s, op->Destination);
        ulong source = TSize.Load(Operand.Register(s, op->Source));
        TSize.StoreRegister(destination, TCondition.Holds(s) ? source : TSize.Load(destination));
        return op + 1;
    }

    // The memory operand is read, and may fault, whether or not the condition holds.
    private static DecodedOp* MoveMemory<TCondition, TSize>(CpuState* s, DecodedOp* op, Interpreter v)
        where TCondition : struct, ICondition
        where TSize : struct, IOperandSize
    {
        byte* destination = Operand.Register(s, op->Destination);
        ulong source = Operand.Read<TSize>(s, op, v);
        TSize.StoreRegister(destination, TCondition.Holds(s) ? source : TSize.Load(destination));
        return op + 1;
    }
}
