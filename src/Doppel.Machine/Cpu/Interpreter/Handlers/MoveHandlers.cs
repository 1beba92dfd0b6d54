using System.Buffers.Binary;
using Iced.Intel;

namespace Doppel.Machine.Cpu.Interpreter.Handlers;

/// <summary>MOV, MOVZX, MOVSX, LEA, XCHG, BSWAP, MOVBE and the sign extensions of the accumulator.</summary>
internal static unsafe class MoveHandlers
{
    internal static void SelectMov(in Instruction instruction, DecodedOp* op)
    {
        switch (op->OperandSize)
        {
            case 1:
                SelectMov<Size8>(instruction, op);
                break;
            case 2:
                SelectMov<Size16>(instruction, op);
                break;
            case 4:
                SelectMov<Size32>(instruction, op);
                break;
            default:
                SelectMov<Size64>(instruction, op);
                break;
        }
    }

    internal static void SelectExtend(in Instruction instruction, DecodedOp* op, int sourceSize, bool signed)
    {
        switch (sourceSize)
        {
            case 1:
                SelectExtend<Size8>(instruction, op, signed);
                break;
            case 2:
                SelectExtend<Size16>(instruction, op, signed);
                break;
            default:
                SelectExtend<Size32>(instruction, op, signed);
                break;
        }
    }

    internal static void SelectLea(DecodedOp* op) => op->Handler = (op->Kind, op->OperandSize) switch
    {
        (AddressKind.Flat, 8) => &Lea<Size64>,
        (AddressKind.Flat, 4) => &Lea<Size32>,
        _ => &LeaOther,
    };

    internal static void SelectXchg(in Instruction instruction, DecodedOp* op)
    {
        bool onMemory = instruction.Op0Kind == OpKind.Memory || instruction.Op1Kind == OpKind.Memory;
        if (instruction.Op1Kind == OpKind.Memory)
            op->Source = op->Destination;
        op->Handler = (onMemory, op->OperandSize) switch
        {
            (false, 1) => &XchgRegisters<Size8>,
            (false, 2) => &XchgRegisters<Size16>,
            (false, 4) => &XchgRegisters<Size32>,
            (false, _) => &XchgRegisters<Size64>,
            (true, 1) => &XchgMemory<Size8>,
            (true, 2) => &XchgMemory<Size16>,
            (true, 4) => &XchgMemory<Size32>,
            (true, _) => &XchgMemory<Size64>,
        };
    }

    internal static void SelectBswap(DecodedOp* op) => op->Handler = op->OperandSize switch
    {
        8 => &Bswap64,
        4 => &Bswap32,
        _ => &Bswap16,
    };

    internal static void SelectMovbe(in Instruction instruction, DecodedOp* op)
    {
        bool isStore = instruction.Op0Kind == OpKind.Memory;
        op->Handler = (isStore, op->OperandSize) switch
        {
            (false, 2) => &LoadBigEndian<Size16>,
            (false, 4) => &LoadBigEndian<Size32>,
            (false, _) => &LoadBigEndian<Size64>,
            (true, 2) => &StoreBigEndian<Size16>,
            (true, 4) => &StoreBigEndian<Size32>,
            (true, _) => &StoreBigEndian<Size64>,
        };
    }

    internal static DecodedOp* Cbw(CpuState* s, DecodedOp* op, Interpreter v)
    {
        *(short*)s->Gpr = (sbyte)s->Gpr[0];
        return op + 1;
    }

    internal static DecodedOp* Cwde(CpuState* s, DecodedOp* op, Interpreter v)
    {
        s->Gpr[0] = (uint)(short)s->Gpr[0];
        return op + 1;
    }

    internal static DecodedOp* Cdqe(CpuState* s, DecodedOp* op, Interpreter v)
    {
        s->Gpr[0] = (ulong)(int)s->Gpr[0];
        return op + 1;
    }

    internal static DecodedOp* Cwd(CpuState* s, DecodedOp* op, Interpreter v)
    {
        *(short*)(s->Gpr + 2) = (short)((short)s->Gpr[0] >> 15);
        return op + 1;
    }

    internal static DecodedOp* Cdq(CpuState* s, DecodedOp* op, Interpreter v)
    {
        s->Gpr[2] = (uint)((int)s->Gpr[0] >> 31);
        return op + 1;
    }

    internal static DecodedOp* Cqo(CpuState* s, DecodedOp* op, Interpreter v)
    {
        s->Gpr[2] = (ulong)((long)s->Gpr[0] >> 63);
        return op + 1;
    }

    internal static DecodedOp* Nop(CpuState* s, DecodedOp* op, Interpreter v) => op + 1;

    internal static DecodedOp* Xlat(CpuState* s, DecodedOp* op, Interpreter v)
    {
        // The decoder gives BX as base; AL is added here, before the address is truncated.
        ulong address = Operand.EffectiveAddress(s, op) + (byte)s->Gpr[0];
        ulong linear = op->Kind switch
        {
            AddressKind.Flat => address + *(ulong*)((byte*)s + op->SegmentBase),
            AddressKind.Flat32 => (uint)address + *(ulong*)((byte*)s + op->SegmentBase),
            AddressKind.Segmented16 => Operand.SegmentLinear(s, v, op->Segment8, (ushort)address, 1, write: false),
            _ => Operand.SegmentLinear(s, v, op->Segment8, (uint)address, 1, write: false),
        };
        *(byte*)s->Gpr = (byte)Operand.ReadLinear<Size8>(s, op, v, linear);
        return op + 1;
    }

    private static void SelectMov<TSize>(in Instruction instruction, DecodedOp* op)
        where TSize : struct, IOperandSize
    {
        if (instruction.Op0Kind == OpKind.Memory)
            op->Handler = instruction.Op1Kind == OpKind.Register ? &MovMemoryRegister<TSize> : &MovMemoryImmediate<TSize>;
        else if (instruction.Op1Kind == OpKind.Memory)
            op->Handler = &MovRegisterMemory<TSize>;
        else
            op->Handler = instruction.Op1Kind == OpKind.Register ? &MovRegisterRegister<TSize> : &MovRegisterImmediate<TSize>;
    }

    private static DecodedOp* MovRegisterRegister<TSize>(CpuState* s, DecodedOp* op, Interpreter v)
        where TSize : struct, IOperandSize
    {
        TSize.StoreRegister(Operand.Register(s, op->Destination), TSize.Load(Operand.Register(s, op->Source)));
        return op + 1;
    }

    private static DecodedOp* MovRegisterImmediate<TSize>(CpuState* s, DecodedOp* op, Interpreter v)
        where TSize : struct, IOperandSize
    {
        TSize.StoreRegister(Operand.Register(s, op->Destination), op->Immediate);
        return op + 1;
    }

    private static DecodedOp* MovRegisterMemory<TSize>(CpuState* s, DecodedOp* op, Interpreter v)
        where TSize : struct, IOperandSize
    {
        TSize.StoreRegister(Operand.Register(s, op->Destination), Operand.Read<TSize>(s, op, v));
        return op + 1;
    }

    private static DecodedOp* MovMemoryRegister<TSize>(CpuState* s, DecodedOp* op, Interpreter v)
        where TSize : struct, IOperandSize
    {
        Operand.Write<TSize>(s, op, v, TSize.Load(Operand.Register(s, op->Source)));
        return op + 1;
    }

    private static DecodedOp* MovMemoryImmediate<TSize>(CpuState* s, DecodedOp* op, Interpreter v)
        where TSize : struct, IOperandSize
    {
        Operand.Write<TSize>(s, op, v, op->Immediate);
        return op + 1;
    }

    private static void SelectExtend<TSource>(in Instruction instruction, DecodedOp* op, bool signed)
        where TSource : struct, IOperandSize
    {
        bool onMemory = instruction.Op1Kind == OpKind.Memory;
        op->Handler = (onMemory, signed, op->OperandSize) switch
        {
            (false, false, _) => &ZeroExtendRegister<TSource>,
            (true, false, _) => &ZeroExtendMemory<TSource>,
            (false, true, 2) => &SignExtendRegister<TSource, Size16>,
            (false, true, 4) => &SignExtendRegister<TSource, Size32>,
            (false, true, _) => &SignExtendRegister<TSource, Size64>,
            (true, true, 2) => &SignExtendMemory<TSource, Size16>,
            (true, true, 4) => &SignExtendMemory<TSource, Size32>,
            (true, true, _) => &SignExtendMemory<TSource, Size64>,
        };
    }

    // A 16-bit destination keeps its upper bits; a 32-bit one clears them, which is what 64 bits do here.
    private static void StoreExtended(CpuState* s, DecodedOp* op, ulong value)
    {
        byte* destination = Operand.Register(s, op->Destination);
        if (op->OperandSize == 2)
            Size16.StoreRegister(destination, value);
        else
            Size64.StoreRegister(destination, value);
    }

    private static DecodedOp* ZeroExtendRegister<TSource>(CpuState* s, DecodedOp* op, Interpreter v)
        where TSource : struct, IOperandSize
    {
        StoreExtended(s, op, TSource.Load(Operand.Register(s, op->Source)));
        return op + 1;
    }

    private static DecodedOp* ZeroExtendMemory<TSource>(CpuState* s, DecodedOp* op, Interpreter v)
        where TSource : struct, IOperandSize
    {
        StoreExtended(s, op, Operand.Read<TSource>(s, op, v));
        return op + 1;
    }

    private static DecodedOp* SignExtendRegister<TSource, TSize>(CpuState* s, DecodedOp* op, Interpreter v)
        where TSource : struct, IOperandSize
        where TSize : struct, IOperandSize
    {
        TSize.StoreRegister(Operand.Register(s, op->Destination), TSource.Extend(TSource.Load(Operand.Register(s, op->Source))));
        return op + 1;
    }

    private static DecodedOp* SignExtendMemory<TSource, TSize>(CpuState* s, DecodedOp* op, Interpreter v)
        where TSource : struct, IOperandSize
        where TSize : struct, IOperandSize
    {
        TSize.StoreRegister(Operand.Register(s, op->Destination), TSource.Extend(Operand.Read<TSource>(s, op, v)));
        return op + 1;
    }

    private static DecodedOp* Lea<TSize>(CpuState* s, DecodedOp* op, Interpreter v)
        where TSize : struct, IOperandSize
    {
        TSize.StoreRegister(Operand.Register(s, op->Destination), Operand.EffectiveAddress(s, op));
        return op + 1;
    }

    private static DecodedOp* LeaOther(CpuState* s, DecodedOp* op, Interpreter v)
    {
        ulong address = Operand.EffectiveAddress(s, op);
        address = op->Kind switch
        {
            AddressKind.Segmented16 => (ushort)address,
            AddressKind.Flat => address,
            _ => (uint)address,
        };
        byte* destination = Operand.Register(s, op->Destination);
        switch (op->OperandSize)
        {
            case 2:
                Size16.StoreRegister(destination, address);
                break;
            case 4:
                Size32.StoreRegister(destination, address);
                break;
            default:
                Size64.StoreRegister(destination, address);
                break;
        }

        return op + 1;
    }

    private static DecodedOp* XchgRegisters<TSize>(CpuState* s, DecodedOp* op, Interpreter v)
        where TSize : struct, IOperandSize
    {
        byte* a = Operand.Register(s, op->Destination);
        byte* b = Operand.Register(s, op->Source);
        ulong old = TSize.Load(a);
        TSize.StoreRegister(a, TSize.Load(b));
        TSize.StoreRegister(b, old);
        return op + 1;
    }

    // XCHG with memory is locked with or without the prefix.
    private static DecodedOp* XchgMemory<TSize>(CpuState* s, DecodedOp* op, Interpreter v)
        where TSize : struct, IOperandSize
    {
        var update = new LockedUpdate<TSize>(s, op, v);
        byte* register = Operand.Register(s, op->Source);
        while (!update.TryCommit(TSize.Load(register)))
        {
        }

        update.Finish();
        TSize.StoreRegister(register, update.Old);
        return op + 1;
    }

    private static DecodedOp* Bswap64(CpuState* s, DecodedOp* op, Interpreter v)
    {
        ulong* p = (ulong*)Operand.Register(s, op->Destination);
        *p = BinaryPrimitives.ReverseEndianness(*p);
        return op + 1;
    }

    private static DecodedOp* Bswap32(CpuState* s, DecodedOp* op, Interpreter v)
    {
        ulong* p = (ulong*)Operand.Register(s, op->Destination);
        *p = BinaryPrimitives.ReverseEndianness((uint)*p);
        return op + 1;
    }

    // Undefined by the manual; processors clear the 16-bit register.
    private static DecodedOp* Bswap16(CpuState* s, DecodedOp* op, Interpreter v)
    {
        Size16.StoreRegister(Operand.Register(s, op->Destination), 0);
        return op + 1;
    }

    private static ulong Reverse<TSize>(ulong value)
        where TSize : struct, IOperandSize => BinaryPrimitives.ReverseEndianness(value) >> (64 - TSize.Bits);

    private static DecodedOp* LoadBigEndian<TSize>(CpuState* s, DecodedOp* op, Interpreter v)
        where TSize : struct, IOperandSize
    {
        TSize.StoreRegister(Operand.Register(s, op->Destination), Reverse<TSize>(Operand.Read<TSize>(s, op, v)));
        return op + 1;
    }

    private static DecodedOp* StoreBigEndian<TSize>(CpuState* s, DecodedOp* op, Interpreter v)
        where TSize : struct, IOperandSize
    {
        Operand.Write<TSize>(s, op, v, Reverse<TSize>(TSize.Load(Operand.Register(s, op->Source))));
        return op + 1;
    }
}
