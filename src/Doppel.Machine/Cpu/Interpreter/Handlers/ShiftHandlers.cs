using System.Runtime.CompilerServices;
using Iced.Intel;

namespace Doppel.Machine.Cpu.Interpreter.Handlers;

/// <summary>A shift or rotation by a count that is not zero after masking; returns the result and sets flags.</summary>
internal unsafe interface IShiftOperation
{
    static abstract ulong Compute<TSize>(CpuState* s, ulong a, int count)
        where TSize : struct, IOperandSize;
}

// A count of zero changes no flag. OF for counts above one and AF are undefined by the manual; what is set here is what
// AMD's processors do (OF by the formula for one, AF set by shifts and kept by rotations), so that results agree with
// those of translated code.
internal readonly unsafe struct ShlOperation : IShiftOperation
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static ulong Compute<TSize>(CpuState* s, ulong a, int count)
        where TSize : struct, IOperandSize
    {
        ulong carry = count <= TSize.Bits ? (a >> (TSize.Bits - count)) & 1 : 0;
        ulong r = count < TSize.Bits ? (a << count) & TSize.Mask : 0;
        AluFlags.SetResult<TSize>(s, r);
        ulong overflow = ((r >> (TSize.Bits - 1)) ^ carry) & 1;
        s->FlagCarryOverflow = CpuFlags.Af | carry | (overflow << 11);
        return r;
    }
}

internal readonly unsafe struct ShrOperation : IShiftOperation
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static ulong Compute<TSize>(CpuState* s, ulong a, int count)
        where TSize : struct, IOperandSize
    {
        ulong carry = count <= TSize.Bits ? (a >> (count - 1)) & 1 : 0;
        ulong r = count < TSize.Bits ? a >> count : 0;
        AluFlags.SetResult<TSize>(s, r);
        ulong overflow = ((r ^ (r << 1)) >> (TSize.Bits - 1)) & 1;
        s->FlagCarryOverflow = CpuFlags.Af | carry | (overflow << 11);
        return r;
    }
}

internal readonly unsafe struct SarOperation : IShiftOperation
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static ulong Compute<TSize>(CpuState* s, ulong a, int count)
        where TSize : struct, IOperandSize
    {
        long wide = (long)TSize.Extend(a);
        ulong carry = (ulong)(wide >> (count - 1)) & 1;
        ulong r = (ulong)(wide >> count) & TSize.Mask;
        AluFlags.SetResult<TSize>(s, r);
        s->FlagCarryOverflow = CpuFlags.Af | carry;
        return r;
    }
}

internal readonly unsafe struct RolOperation : IShiftOperation
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static ulong Compute<TSize>(CpuState* s, ulong a, int count)
        where TSize : struct, IOperandSize
    {
        int n = count & (TSize.Bits - 1);
        ulong r = n == 0 ? a : ((a << n) | (a >> (TSize.Bits - n))) & TSize.Mask;
        ulong carry = r & 1;
        ulong overflow = ((r >> (TSize.Bits - 1)) ^ carry) & 1;
        s->FlagCarryOverflow = (s->FlagCarryOverflow & CpuFlags.Af) | carry | (overflow << 11);
        return r;
    }
}

internal readonly unsafe struct RorOperation : IShiftOperation
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static ulong Compute<TSize>(CpuState* s, ulong a, int count)
        where TSize : struct, IOperandSize
    {
        int n = count & (TSize.Bits - 1);
        ulong r = n == 0 ? a : ((a >> n) | (a << (TSize.Bits - n))) & TSize.Mask;
        ulong carry = (r >> (TSize.Bits - 1)) & 1;
        ulong overflow = carry ^ ((r >> (TSize.Bits - 2)) & 1);
        s->FlagCarryOverflow = (s->FlagCarryOverflow & CpuFlags.Af) | carry | (overflow << 11);
        return r;
    }
}

internal readonly unsafe struct RclOperation : IShiftOperation
{
    public static ulong Compute<TSize>(CpuState* s, ulong a, int count)
        where TSize : struct, IOperandSize
    {
        // 8- and 16-bit rotations through carry take the count modulo 9 and 17.
        int n = count % (TSize.Bits + 1);
        ulong carry = s->FlagCarryOverflow & 1;
        ulong r = a;
        if (n != 0)
        {
            r = ((a << n) | (carry << (n - 1)) | (n > 1 ? a >> (TSize.Bits + 1 - n) : 0)) & TSize.Mask;
            carry = (a >> (TSize.Bits - n)) & 1;
        }

        ulong overflow = ((r >> (TSize.Bits - 1)) ^ carry) & 1;
        s->FlagCarryOverflow = (s->FlagCarryOverflow & CpuFlags.Af) | carry | (overflow << 11);
        return r;
    }
}

internal readonly unsafe struct RcrOperation : IShiftOperation
{
    public static ulong Compute<TSize>(CpuState* s, ulong a, int count)
        where TSize : struct, IOperandSize
    {
        int n = count % (TSize.Bits + 1);
        ulong carry = s->FlagCarryOverflow & 1;
        ulong r = a;
        if (n != 0)
        {
            r = ((n < 64 ? a >> n : 0) | (carry << (TSize.Bits - n)) | (n > 1 ? a << (TSize.Bits + 1 - n) : 0)) & TSize.Mask;
            carry = (a >> (n - 1)) & 1;
        }

        ulong overflow = ((r >> (TSize.Bits - 1)) ^ (r >> (TSize.Bits - 2))) & 1;
        s->FlagCarryOverflow = (s->FlagCarryOverflow & CpuFlags.Af) | carry | (overflow << 11);
        return r;
    }
}

/// <summary>SHL, SHR, SAR, ROL, ROR, RCL, RCR, SHLD and SHRD.</summary>
internal static unsafe class ShiftHandlers
{
    internal static void Select<TOperation>(in Instruction instruction, DecodedOp* op)
        where TOperation : struct, IShiftOperation
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

    internal static void SelectDouble(in Instruction instruction, DecodedOp* op, bool left)
    {
        // CL as count is told by Extra; the immediate form has its count in Immediate.
        op->Extra = instruction.Op2Kind == OpKind.Register ? 1 : 0;
        bool onMemory = instruction.Op0Kind == OpKind.Memory;
        op->Handler = (left, op->OperandSize, onMemory) switch
        {
            (true, 2, false) => &DoubleLeftRegister<Size16>,
            (true, 4, false) => &DoubleLeftRegister<Size32>,
            (true, _, false) => &DoubleLeftRegister<Size64>,
            (true, 2, true) => &DoubleLeftMemory<Size16>,
            (true, 4, true) => &DoubleLeftMemory<Size32>,
            (true, _, true) => &DoubleLeftMemory<Size64>,
            (false, 2, false) => &DoubleRightRegister<Size16>,
            (false, 4, false) => &DoubleRightRegister<Size32>,
            (false, _, false) => &DoubleRightRegister<Size64>,
            (false, 2, true) => &DoubleRightMemory<Size16>,
            (false, 4, true) => &DoubleRightMemory<Size32>,
            (false, _, true) => &DoubleRightMemory<Size64>,
        };
    }

    private static void Select<TOperation, TSize>(in Instruction instruction, DecodedOp* op)
        where TOperation : struct, IShiftOperation
        where TSize : struct, IOperandSize
    {
        bool byCl = instruction.Op1Kind == OpKind.Register;
        if (!byCl)
            op->Immediate &= TSize.Bits == 64 ? 63u : 31u;
        if (instruction.Op0Kind == OpKind.Memory)
            op->Handler = byCl ? &MemoryByCl<TOperation, TSize> : &MemoryByImmediate<TOperation, TSize>;
        else if (byCl)
            op->Handler = &RegisterByCl<TOperation, TSize>;
        else if (op->Immediate != 0)
            op->Handler = &RegisterByImmediate<TOperation, TSize>;
        else
            op->Handler = &RegisterByZero<TSize>;
    }

    private static DecodedOp* RegisterByImmediate<TOperation, TSize>(CpuState* s, DecodedOp* op, Interpreter v)
        where TOperation : struct, IShiftOperation
        where TSize : struct, IOperandSize
    {
        byte* p = Operand.Register(s, op->Destination);
        TSize.StoreRegister(p, TOperation.Compute<TSize>(s, TSize.Load(p), (int)op->Immediate));
        return op + 1;
    }

    private static DecodedOp* RegisterByZero<TSize>(CpuState* s, DecodedOp* op, Interpreter v)
        where TSize : struct, IOperandSize
    {
        byte* p = Operand.Register(s, op->Destination);
        TSize.StoreRegister(p, TSize.Load(p));
        return op + 1;
    }

    private static DecodedOp* RegisterByCl<TOperation, TSize>(CpuState* s, DecodedOp* op, Interpreter v)
        where TOperation : struct, IShiftOperation
        where TSize : struct, IOperandSize
    {
        int count = (int)s->Gpr[1] & (TSize.Bits == 64 ? 63 : 31);
        byte* p = Operand.Register(s, op->Destination);
        ulong a = TSize.Load(p);
        TSize.StoreRegister(p, count == 0 ? a : TOperation.Compute<TSize>(s, a, count));
        return op + 1;
    }

    private static DecodedOp* MemoryByImmediate<TOperation, TSize>(CpuState* s, DecodedOp* op, Interpreter v)
        where TOperation : struct, IShiftOperation
        where TSize : struct, IOperandSize
    {
        UpdateMemory<TOperation, TSize>(s, op, v, (int)op->Immediate);
        return op + 1;
    }

    private static DecodedOp* MemoryByCl<TOperation, TSize>(CpuState* s, DecodedOp* op, Interpreter v)
        where TOperation : struct, IShiftOperation
        where TSize : struct, IOperandSize
    {
        UpdateMemory<TOperation, TSize>(s, op, v, (int)s->Gpr[1] & (TSize.Bits == 64 ? 63 : 31));
        return op + 1;
    }

    private static void UpdateMemory<TOperation, TSize>(CpuState* s, DecodedOp* op, Interpreter v, int count)
        where TOperation : struct, IShiftOperation
        where TSize : struct, IOperandSize
    {
        ulong address = Operand.Linear(s, op, v, TSize.Bytes, write: true);
        v.Cpu.Linear.ProbeWrite(address, TSize.Bytes, op->Segment8 == Segment.Ss);
        ulong a = Operand.ReadLinear<TSize>(s, op, v, address);
        Operand.WriteLinear<TSize>(s, op, v, address, count == 0 ? a : TOperation.Compute<TSize>(s, a, count));
    }

    private static int DoubleCount<TSize>(CpuState* s, DecodedOp* op)
        where TSize : struct, IOperandSize =>
        (op->Extra != 0 ? (int)s->Gpr[1] : (int)op->Immediate) & (TSize.Bits == 64 ? 63 : 31);

    private static ulong DoubleLeft<TSize>(CpuState* s, ulong a, ulong b, int count)
        where TSize : struct, IOperandSize
    {
        if (count == 0)
            return a;
        ulong r, carry;
        if (TSize.Bits == 16)
        {
            // Counts above 16 are undefined by the manual; processors shift the 48 bits a:b:a.
            ulong wide = (a << 32) | (b << 16) | a;
            r = (wide >> (32 - count)) & 0xFFFF;
            carry = (wide >> (48 - count)) & 1;
        }
        else
        {
            r = ((a << count) | (b >> (TSize.Bits - count))) & TSize.Mask;
            carry = (a >> (TSize.Bits - count)) & 1;
        }

        AluFlags.SetResult<TSize>(s, r);
        ulong overflow = ((r >> (TSize.Bits - 1)) ^ carry) & 1;
        s->FlagCarryOverflow = CpuFlags.Af | carry | (overflow << 11);
        return r;
    }

    private static ulong DoubleRight<TSize>(CpuState* s, ulong a, ulong b, int count)
        where TSize : struct, IOperandSize
    {
        if (count == 0)
            return a;
        ulong r, carry;
        if (TSize.Bits == 16)
        {
            ulong wide = (a << 32) | (b << 16) | a;
            r = (wide >> count) & 0xFFFF;
            carry = (wide >> (count - 1)) & 1;
        }
        else
        {
            r = ((a >> count) | (b << (TSize.Bits - count))) & TSize.Mask;
            carry = (a >> (count - 1)) & 1;
        }

        AluFlags.SetResult<TSize>(s, r);
        ulong overflow = ((r ^ (r << 1)) >> (TSize.Bits - 1)) & 1;
        s->FlagCarryOverflow = CpuFlags.Af | carry | (overflow << 11);
        return r;
    }

    private static DecodedOp* DoubleLeftRegister<TSize>(CpuState* s, DecodedOp* op, Interpreter v)
        where TSize : struct, IOperandSize
    {
        byte* p = Operand.Register(s, op->Destination);
        TSize.StoreRegister(p, DoubleLeft<TSize>(s, TSize.Load(p), TSize.Load(Operand.Register(s, op->Source)), DoubleCount<TSize>(s, op)));
        return op + 1;
    }

    private static DecodedOp* DoubleRightRegister<TSize>(CpuState* s, DecodedOp* op, Interpreter v)
        where TSize : struct, IOperandSize
    {
        byte* p = Operand.Register(s, op->Destination);
        TSize.StoreRegister(p, DoubleRight<TSize>(s, TSize.Load(p), TSize.Load(Operand.Register(s, op->Source)), DoubleCount<TSize>(s, op)));
        return op + 1;
    }

    private static DecodedOp* DoubleLeftMemory<TSize>(CpuState* s, DecodedOp* op, Interpreter v)
        where TSize : struct, IOperandSize
    {
        ulong address = Operand.Linear(s, op, v, TSize.Bytes, write: true);
        v.Cpu.Linear.ProbeWrite(address, TSize.Bytes, op->Segment8 == Segment.Ss);
        ulong a = Operand.ReadLinear<TSize>(s, op, v, address);
        Operand.WriteLinear<TSize>(s, op, v, address, DoubleLeft<TSize>(s, a, TSize.Load(Operand.Register(s, op->Source)), DoubleCount<TSize>(s, op)));
        return op + 1;
    }

    private static DecodedOp* DoubleRightMemory<TSize>(CpuState* s, DecodedOp* op, Interpreter v)
        where TSize : struct, IOperandSize
    {
        ulong address = Operand.Linear(s, op, v, TSize.Bytes, write: true);
        v.Cpu.Linear.ProbeWrite(address, TSize.Bytes, op->Segment8 == Segment.Ss);
        ulong a = Operand.ReadLinear<TSize>(s, op, v, address);
        Operand.WriteLinear<TSize>(s, op, v, address, DoubleRight<TSize>(s, a, TSize.Load(Operand.Register(s, op->Source)), DoubleCount<TSize>(s, op)));
        return op + 1;
    }
}
