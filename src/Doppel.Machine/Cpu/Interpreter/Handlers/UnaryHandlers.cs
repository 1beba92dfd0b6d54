using System.Runtime.CompilerServices;
using Iced.Intel;

namespace Doppel.Machine.Cpu.Interpreter.Handlers;

/// <summary>A one-operand read-modify-write operation.</summary>
internal unsafe interface IUnaryOperation
{
    static abstract ulong Compute<TSize>(CpuState* s, ulong a)
        where TSize : struct, IOperandSize;
}

internal readonly unsafe struct IncOperation : IUnaryOperation
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static ulong Compute<TSize>(CpuState* s, ulong a)
        where TSize : struct, IOperandSize
    {
        ulong carry = s->FlagCarryOverflow & CpuFlags.Cf;
        ulong r = AddOperation.Compute<TSize>(s, a, 1);
        s->FlagCarryOverflow = (s->FlagCarryOverflow & ~CpuFlags.Cf) | carry;
        return r;
    }
}

internal readonly unsafe struct DecOperation : IUnaryOperation
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static ulong Compute<TSize>(CpuState* s, ulong a)
        where TSize : struct, IOperandSize
    {
        ulong carry = s->FlagCarryOverflow & CpuFlags.Cf;
        ulong r = SubOperation.Compute<TSize>(s, a, 1);
        s->FlagCarryOverflow = (s->FlagCarryOverflow & ~CpuFlags.Cf) | carry;
        return r;
    }
}

internal readonly unsafe struct NegOperation : IUnaryOperation
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static ulong Compute<TSize>(CpuState* s, ulong a)
        where TSize : struct, IOperandSize => SubOperation.Compute<TSize>(s, 0, a);
}

internal readonly unsafe struct NotOperation : IUnaryOperation
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static ulong Compute<TSize>(CpuState* s, ulong a)
        where TSize : struct, IOperandSize => ~a & TSize.Mask;
}

/// <summary>INC, DEC, NEG, NOT.</summary>
internal static unsafe class UnaryHandlers
{
    internal static void Select<TOperation>(in Instruction instruction, DecodedOp* op)
        where TOperation : struct, IUnaryOperation
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
        where TOperation : struct, IUnaryOperation
        where TSize : struct, IOperandSize
    {
        if (instruction.Op0Kind != OpKind.Memory)
            op->Handler = &OnRegister<TOperation, TSize>;
        else if (instruction.HasLockPrefix)
            op->Handler = &Locked<TOperation, TSize>;
        else
            op->Handler = &OnMemory<TOperation, TSize>;
    }

    private static DecodedOp* OnRegister<TOperation, TSize>(CpuState* s, DecodedOp* op, Interpreter v)
        where TOperation : struct, IUnaryOperation
        where TSize : struct, IOperandSize
    {
        byte* p = Operand.Register(s, op->Destination);
        TSize.StoreRegister(p, TOperation.Compute<TSize>(s, TSize.Load(p)));
        return op + 1;
    }

    private static DecodedOp* OnMemory<TOperation, TSize>(CpuState* s, DecodedOp* op, Interpreter v)
        where TOperation : struct, IUnaryOperation
        where TSize : struct, IOperandSize
    {
        ulong address = Operand.Linear(s, op, v, TSize.Bytes, write: true);
        byte* host = Operand.UpdatePointer<TSize>(s, address);
        if (host != null)
        {
            TSize.Store(host, TOperation.Compute<TSize>(s, TSize.Load(host)));
            return op + 1;
        }

        v.Cpu.Linear.ProbeWrite(address, TSize.Bytes, op->Segment8 == Segment.Ss);
        ulong a = Operand.ReadLinear<TSize>(s, op, v, address);
        Operand.WriteLinear<TSize>(s, op, v, address, TOperation.Compute<TSize>(s, a));
        return op + 1;
    }

    private static DecodedOp* Locked<TOperation, TSize>(CpuState* s, DecodedOp* op, Interpreter v)
        where TOperation : struct, IUnaryOperation
        where TSize : struct, IOperandSize
    {
        var update = new LockedUpdate<TSize>(s, op, v);
        while (!update.TryCommit(TOperation.Compute<TSize>(s, update.Old)))
        {
        }

        update.Finish();
        return op + 1;
    }
}
