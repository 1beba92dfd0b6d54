using System.Runtime.CompilerServices;
using Iced.Intel;

namespace Doppel.Machine.Cpu.Interpreter.Handlers;

/// <summary>MUL, IMUL, DIV, IDIV and the decimal adjustments. Flags that the manual leaves undefined are as AMD's processors leave them.</summary>
internal static unsafe class MultiplyHandlers
{
    internal static void SelectImul(in Instruction instruction, DecodedOp* op)
    {
        if (instruction.OpCount == 1)
        {
            SelectWide(instruction, op, &Imul8, &ImulWide<Size16>, &ImulWide<Size32>, &Imul64);
            return;
        }

        // Two operands: destination *= source; three: destination = source * immediate.
        op->Extra = (instruction.OpCount == 3 ? 1 : 0) | (instruction.Op1Kind == OpKind.Memory ? 2 : 0);
        op->Handler = op->OperandSize switch
        {
            2 => &ImulShort<Size16>,
            4 => &ImulShort<Size32>,
            _ => &ImulShort<Size64>,
        };
    }

    internal static void SelectMul(in Instruction instruction, DecodedOp* op) =>
        SelectWide(instruction, op, &Mul8, &MulWide<Size16>, &MulWide<Size32>, &Mul64);

    internal static void SelectDiv(in Instruction instruction, DecodedOp* op) =>
        SelectWide(instruction, op, &Div8, &DivWide<Size16>, &DivWide<Size32>, &Div64);

    internal static void SelectIdiv(in Instruction instruction, DecodedOp* op) =>
        SelectWide(instruction, op, &Idiv8, &IdivWide<Size16>, &IdivWide<Size32>, &Idiv64);

    internal static DecodedOp* Daa(CpuState* s, DecodedOp* op, Interpreter v)
    {
        ulong al = (byte)s->Gpr[0];
        ulong flags = s->FlagCarryOverflow;
        ulong result = al, carry = flags & CpuFlags.Cf, adjust = 0;
        if ((al & 15) > 9 || (flags & CpuFlags.Af) != 0)
        {
            result += 6;
            adjust = CpuFlags.Af;
        }

        if (al > 0x99 || carry != 0)
        {
            result += 0x60;
            carry = CpuFlags.Cf;
        }

        FinishDecimal(s, result, carry | adjust);
        return op + 1;
    }

    internal static DecodedOp* Das(CpuState* s, DecodedOp* op, Interpreter v)
    {
        ulong al = (byte)s->Gpr[0];
        ulong flags = s->FlagCarryOverflow;
        ulong oldCarry = flags & CpuFlags.Cf;
        ulong result = al, carry = 0, adjust = 0;
        if ((al & 15) > 9 || (flags & CpuFlags.Af) != 0)
        {
            carry = oldCarry | (al < 6 ? 1u : 0u);
            result -= 6;
            adjust = CpuFlags.Af;
        }

        if (al > 0x99 || oldCarry != 0)
        {
            result -= 0x60;
            carry = CpuFlags.Cf;
        }

        FinishDecimal(s, result, carry | adjust);
        return op + 1;
    }

    internal static DecodedOp* Aaa(CpuState* s, DecodedOp* op, Interpreter v)
    {
        bool adjust = (s->Gpr[0] & 15) > 9 || (s->FlagCarryOverflow & CpuFlags.Af) != 0;
        AsciiAdjust(s, adjust, 0x106);
        return op + 1;
    }

    internal static DecodedOp* Aas(CpuState* s, DecodedOp* op, Interpreter v)
    {
        bool adjust = (s->Gpr[0] & 15) > 9 || (s->FlagCarryOverflow & CpuFlags.Af) != 0;
        AsciiAdjust(s, adjust, -0x106);
        return op + 1;
    }

    internal static DecodedOp* Aam(CpuState* s, DecodedOp* op, Interpreter v)
    {
        uint divisor = (byte)op->Immediate;
        if (divisor == 0)
            throw v.Cpu.Fault(ExceptionVector.DivideError);
        uint al = (byte)s->Gpr[0];
        Size16.StoreRegister(s->Gpr, ((al / divisor) << 8) | (al % divisor));
        AluFlags.SetResult<Size8>(s, al % divisor);
        s->FlagCarryOverflow = 0;
        return op + 1;
    }

    internal static DecodedOp* Aad(CpuState* s, DecodedOp* op, Interpreter v)
    {
        ulong ah = (s->Gpr[0] >> 8) & 0xFF;
        ulong al = (byte)((s->Gpr[0] & 0xFF) + (ah * (byte)op->Immediate));
        Size16.StoreRegister(s->Gpr, al);
        AluFlags.SetResult<Size8>(s, al);
        s->FlagCarryOverflow = 0;
        return op + 1;
    }

    private static void FinishDecimal(CpuState* s, ulong result, ulong flags)
    {
        *(byte*)s->Gpr = (byte)result;
        AluFlags.SetResult<Size8>(s, (byte)result);
        s->FlagCarryOverflow = flags;
    }

    private static void AsciiAdjust(CpuState* s, bool adjust, int amount)
    {
        ulong ax = (ushort)s->Gpr[0];
        if (adjust)
            ax = (ushort)((int)ax + amount);
        Size16.StoreRegister(s->Gpr, ax & 0xFF0F);
        s->FlagCarryOverflow = adjust ? CpuFlags.Cf | CpuFlags.Af : 0;
        AluFlags.SetResult<Size8>(s, ax & 15);
    }

    private static void SelectWide(
        in Instruction instruction,
        DecodedOp* op,
        delegate*<CpuState*, DecodedOp*, Interpreter, DecodedOp*> by8,
        delegate*<CpuState*, DecodedOp*, Interpreter, DecodedOp*> by16,
        delegate*<CpuState*, DecodedOp*, Interpreter, DecodedOp*> by32,
        delegate*<CpuState*, DecodedOp*, Interpreter, DecodedOp*> by64)
    {
        op->Extra = instruction.Op0Kind == OpKind.Memory ? 2 : 0;
        op->Handler = op->OperandSize switch
        {
            1 => by8,
            2 => by16,
            4 => by32,
            _ => by64,
        };
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static ulong Source<TSize>(CpuState* s, DecodedOp* op, Interpreter v, ushort register)
        where TSize : struct, IOperandSize =>
        (op->Extra & 2) != 0 ? Operand.Read<TSize>(s, op, v) : TSize.Load(Operand.Register(s, register));

    private static void SetProductFlags(CpuState* s, bool overflow) =>
        s->FlagCarryOverflow = (s->FlagCarryOverflow & CpuFlags.Af) | (overflow ? CpuFlags.Cf | CpuFlags.Of : 0);

    // After a division: AF is set, ZF, SF and PF are clear, CF and OF are kept.
    private static DecodedOp* Divided(CpuState* s, DecodedOp* op)
    {
        s->FlagZero = 1;
        s->FlagSignParity = 1;
        s->FlagCarryOverflow |= CpuFlags.Af;
        return op + 1;
    }

    private static DecodedOp* ImulShort<TSize>(CpuState* s, DecodedOp* op, Interpreter v)
        where TSize : struct, IOperandSize
    {
        bool three = (op->Extra & 1) != 0;
        long b = (long)TSize.Extend(Source<TSize>(s, op, v, op->Source));
        byte* destination = Operand.Register(s, op->Destination);
        long a = (long)TSize.Extend(three ? op->Immediate : TSize.Load(destination));
        long high = Math.BigMul(a, b, out long low);
        ulong r = (ulong)low & TSize.Mask;
        bool overflow = TSize.Bits == 64 ? high != low >> 63 : (long)TSize.Extend(r) != low;
        TSize.StoreRegister(destination, r);
        SetProductFlags(s, overflow);
        return op + 1;
    }

    private static DecodedOp* Mul8(CpuState* s, DecodedOp* op, Interpreter v)
    {
        ulong r = Source<Size8>(s, op, v, op->Destination) * (byte)s->Gpr[0];
        Size16.StoreRegister(s->Gpr, r);
        SetProductFlags(s, r > 0xFF);
        return op + 1;
    }

    private static DecodedOp* Imul8(CpuState* s, DecodedOp* op, Interpreter v)
    {
        int r = (sbyte)Source<Size8>(s, op, v, op->Destination) * (sbyte)s->Gpr[0];
        Size16.StoreRegister(s->Gpr, (ushort)r);
        SetProductFlags(s, (sbyte)r != r);
        return op + 1;
    }

    private static DecodedOp* MulWide<TSize>(CpuState* s, DecodedOp* op, Interpreter v)
        where TSize : struct, IOperandSize
    {
        ulong r = Source<TSize>(s, op, v, op->Destination) * (s->Gpr[0] & TSize.Mask);
        TSize.StoreRegister(s->Gpr, r & TSize.Mask);
        TSize.StoreRegister(s->Gpr + 2, (r >> TSize.Bits) & TSize.Mask);
        SetProductFlags(s, r >> TSize.Bits != 0);
        return op + 1;
    }

    private static DecodedOp* ImulWide<TSize>(CpuState* s, DecodedOp* op, Interpreter v)
        where TSize : struct, IOperandSize
    {
        long r = (long)TSize.Extend(Source<TSize>(s, op, v, op->Destination)) * (long)TSize.Extend(s->Gpr[0] & TSize.Mask);
        ulong low = (ulong)r & TSize.Mask;
        TSize.StoreRegister(s->Gpr, low);
        TSize.StoreRegister(s->Gpr + 2, (ulong)(r >> TSize.Bits) & TSize.Mask);
        SetProductFlags(s, (long)TSize.Extend(low) != r);
        return op + 1;
    }

    private static DecodedOp* Mul64(CpuState* s, DecodedOp* op, Interpreter v)
    {
        ulong high = Math.BigMul(Source<Size64>(s, op, v, op->Destination), s->Gpr[0], out ulong low);
        s->Gpr[0] = low;
        s->Gpr[2] = high;
        SetProductFlags(s, high != 0);
        return op + 1;
    }

    private static DecodedOp* Imul64(CpuState* s, DecodedOp* op, Interpreter v)
    {
        long high = Math.BigMul((long)Source<Size64>(s, op, v, op->Destination), (long)s->Gpr[0], out long low);
        s->Gpr[0] = (ulong)low;
        s->Gpr[2] = (ulong)high;
        SetProductFlags(s, high != low >> 63);
        return op + 1;
    }

    private static DecodedOp* Div8(CpuState* s, DecodedOp* op, Interpreter v)
    {
        uint divisor = (uint)Source<Size8>(s, op, v, op->Destination);
        uint dividend = (ushort)s->Gpr[0];
        if (divisor == 0 || dividend / divisor > 0xFF)
            throw v.Cpu.Fault(ExceptionVector.DivideError);
        Size16.StoreRegister(s->Gpr, ((dividend % divisor) << 8) | (dividend / divisor));
        return Divided(s, op);
    }

    private static DecodedOp* Idiv8(CpuState* s, DecodedOp* op, Interpreter v)
    {
        int divisor = (sbyte)Source<Size8>(s, op, v, op->Destination);
        int dividend = (short)s->Gpr[0];
        if (divisor == 0 || dividend / divisor != (sbyte)(dividend / divisor))
            throw v.Cpu.Fault(ExceptionVector.DivideError);
        Size16.StoreRegister(s->Gpr, (ulong)(byte)(dividend / divisor) | ((ulong)(byte)(dividend % divisor) << 8));
        return Divided(s, op);
    }

    private static DecodedOp* DivWide<TSize>(CpuState* s, DecodedOp* op, Interpreter v)
        where TSize : struct, IOperandSize
    {
        ulong divisor = Source<TSize>(s, op, v, op->Destination);
        ulong dividend = ((s->Gpr[2] & TSize.Mask) << TSize.Bits) | (s->Gpr[0] & TSize.Mask);
        if (divisor == 0 || dividend / divisor > TSize.Mask)
            throw v.Cpu.Fault(ExceptionVector.DivideError);
        TSize.StoreRegister(s->Gpr, dividend / divisor);
        TSize.StoreRegister(s->Gpr + 2, dividend % divisor);
        return Divided(s, op);
    }

    private static DecodedOp* IdivWide<TSize>(CpuState* s, DecodedOp* op, Interpreter v)
        where TSize : struct, IOperandSize
    {
        long divisor = (long)TSize.Extend(Source<TSize>(s, op, v, op->Destination));
        ulong bits = ((s->Gpr[2] & TSize.Mask) << TSize.Bits) | (s->Gpr[0] & TSize.Mask);
        long dividend = TSize.Bits == 16 ? (int)bits : (long)bits;
        // long.MinValue / -1 overflows in C#, as it does here.
        if (divisor == 0 || (divisor == -1 && dividend == long.MinValue))
            throw v.Cpu.Fault(ExceptionVector.DivideError);
        long quotient = dividend / divisor;
        if ((long)TSize.Extend((ulong)quotient & TSize.Mask) != quotient)
            throw v.Cpu.Fault(ExceptionVector.DivideError);
        TSize.StoreRegister(s->Gpr, (ulong)quotient & TSize.Mask);
        TSize.StoreRegister(s->Gpr + 2, (ulong)(dividend % divisor) & TSize.Mask);
        return Divided(s, op);
    }

    private static DecodedOp* Div64(CpuState* s, DecodedOp* op, Interpreter v)
    {
        ulong divisor = Source<Size64>(s, op, v, op->Destination);
        ulong high = s->Gpr[2];
        if (high >= divisor)
            throw v.Cpu.Fault(ExceptionVector.DivideError);
        if (high == 0)
        {
            ulong low = s->Gpr[0];
            s->Gpr[0] = low / divisor;
            s->Gpr[2] = low % divisor;
            return Divided(s, op);
        }

        UInt128 dividend = new(high, s->Gpr[0]);
        s->Gpr[0] = (ulong)(dividend / divisor);
        s->Gpr[2] = (ulong)(dividend % divisor);
        return Divided(s, op);
    }

    private static DecodedOp* Idiv64(CpuState* s, DecodedOp* op, Interpreter v)
    {
        Int128 divisor = (long)Source<Size64>(s, op, v, op->Destination);
        if (divisor == 0)
            throw v.Cpu.Fault(ExceptionVector.DivideError);
        Int128 dividend = new(s->Gpr[2], s->Gpr[0]);
        if (dividend == Int128.MinValue && divisor == -1)
            throw v.Cpu.Fault(ExceptionVector.DivideError);
        Int128 quotient = dividend / divisor;
        if (quotient != (long)quotient)
            throw v.Cpu.Fault(ExceptionVector.DivideError);
        s->Gpr[0] = (ulong)(long)quotient;
        s->Gpr[2] = (ulong)(long)(dividend % divisor);
        return Divided(s, op);
    }
}
