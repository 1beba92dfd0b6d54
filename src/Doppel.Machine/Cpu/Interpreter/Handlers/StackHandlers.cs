using Doppel.Machine.Cpu.Segments;
using Iced.Intel;

namespace Doppel.Machine.Cpu.Interpreter.Handlers;

/// <summary>PUSH, POP, PUSHA, POPA, PUSHF, POPF, ENTER, LEAVE.</summary>
internal static unsafe class StackHandlers
{
    internal static void SelectPush(in Instruction instruction, DecodedOp* op, bool is64)
    {
        if (instruction.Op0Kind == OpKind.Register)
        {
            if (instruction.Op0Register.IsSegmentRegister())
                op->Handler = &PushSegment;
            else
                op->Handler = is64 && op->OperandSize == 8 ? &PushRegister64 : &PushRegister;
        }
        else if (instruction.Op0Kind == OpKind.Memory)
        {
            op->Handler = &PushMemory;
        }
        else
        {
            op->Handler = is64 && op->OperandSize == 8 ? &PushImmediate64 : &PushImmediate;
        }
    }

    internal static void SelectPop(in Instruction instruction, DecodedOp* op, bool is64)
    {
        if (instruction.Op0Kind == OpKind.Register)
        {
            if (instruction.Op0Register.IsSegmentRegister())
                op->Handler = &PopSegment;
            else
                op->Handler = is64 && op->OperandSize == 8 ? &PopRegister64 : &PopRegister;
        }
        else
        {
            op->Handler = &PopMemory;
        }
    }

    /// <summary>The mask of the stack pointer: by mode and by the B bit of SS.</summary>
    internal static ulong PointerMask(CpuState* s) =>
        s->Is64Bit ? ulong.MaxValue : s->Ss.Has(SegmentAttributes.Big) ? 0xFFFFFFFF : 0xFFFFu;

    /// <summary>Moves the stack pointer, keeping the bits that its width leaves alone.</summary>
    internal static void AdjustPointer(CpuState* s, long amount)
    {
        ulong mask = PointerMask(s);
        ulong value = (s->Gpr[4] + (ulong)amount) & mask;
        s->Gpr[4] = mask == 0xFFFF ? (s->Gpr[4] & ~mask) | value : value;
    }

    /// <summary>Pushes a value of 2, 4 or 8 bytes; nothing changes when it faults.</summary>
    internal static void Push(CpuState* s, Interpreter v, int size, ulong value)
    {
        ulong mask = PointerMask(s);
        ulong offset = (s->Gpr[4] - (uint)size) & mask;
        Store(s, v, offset, size, value);
        s->Gpr[4] = mask == 0xFFFF ? (s->Gpr[4] & ~mask) | offset : offset;
    }

    /// <summary>Reads the stack at a distance above its pointer.</summary>
    internal static ulong Peek(CpuState* s, Interpreter v, int size, uint distance)
    {
        ulong offset = (s->Gpr[4] + distance) & PointerMask(s);
        return Load(s, v, offset, size);
    }

    internal static DecodedOp* PushFlags(CpuState* s, DecodedOp* op, Interpreter v)
    {
        v.EnterSystem(op);
        Push(s, v, op->OperandSize, FlagInstructions.Pushf(v.Cpu, op->OperandSize));
        return op + 1;
    }

    internal static DecodedOp* PopFlags(CpuState* s, DecodedOp* op, Interpreter v)
    {
        v.EnterSystem(op);
        ulong value = Peek(s, v, op->OperandSize, 0);
        FlagInstructions.Popf(v.Cpu, value, op->OperandSize);
        v.LoadedFlags = true;
        AdjustPointer(s, op->OperandSize);
        return v.ContinueOrLeave(op);
    }

    internal static DecodedOp* PushAll(CpuState* s, DecodedOp* op, Interpreter v)
    {
        int size = op->OperandSize;
        ulong mask = PointerMask(s);
        for (int i = 0; i < 8; i++)
        {
            ulong offset = (s->Gpr[4] - (uint)(size * (i + 1))) & mask;
            ulong linear = Operand.SegmentLinear(s, v, Segment.Ss, offset, size, write: true);
            v.Cpu.Linear.ProbeWrite(linear, size, isStack: true);
        }

        for (int i = 0; i < 8; i++)
            Store(s, v, (s->Gpr[4] - (uint)(size * (i + 1))) & mask, size, s->Gpr[i]);
        AdjustPointer(s, -8 * size);
        return op + 1;
    }

    internal static DecodedOp* PopAll(CpuState* s, DecodedOp* op, Interpreter v)
    {
        int size = op->OperandSize;
        ulong* values = stackalloc ulong[8];
        for (int i = 0; i < 8; i++)
            values[i] = Peek(s, v, size, (uint)(size * i));
        // In memory order: DI SI BP (SP, ignored) BX DX CX AX.
        for (int i = 0; i < 8; i++)
        {
            if (7 - i == 4)
                continue;
            if (size == 2)
                Size16.StoreRegister(s->Gpr + (7 - i), values[i]);
            else
                Size32.StoreRegister(s->Gpr + (7 - i), values[i]);
        }

        AdjustPointer(s, 8 * size);
        return op + 1;
    }

    internal static DecodedOp* Leave(CpuState* s, DecodedOp* op, Interpreter v)
    {
        int size = op->OperandSize;
        ulong mask = PointerMask(s);
        ulong frame = s->Gpr[5] & mask;
        ulong value = Load(s, v, frame, size);
        ulong pointer = (frame + (uint)size) & mask;
        s->Gpr[4] = mask == 0xFFFF ? (s->Gpr[4] & ~mask) | pointer : pointer;
        StoreBySize(s->Gpr + 5, size, value);
        return op + 1;
    }

    // Immediate: frame size in the low 16 bits, nesting level above.
    internal static DecodedOp* Enter(CpuState* s, DecodedOp* op, Interpreter v)
    {
        int size = op->OperandSize;
        ulong mask = PointerMask(s);
        int level = (int)(op->Immediate >> 16) & 31;
        ulong frameSize = op->Immediate & 0xFFFF;
        ulong pointer = (s->Gpr[4] - (uint)size) & mask;
        ulong oldPointer = s->Gpr[4];
        Store(s, v, pointer, size, s->Gpr[5]);
        ulong frame = mask == 0xFFFF ? (s->Gpr[4] & ~mask) | pointer : pointer;
        if (level > 0)
        {
            ulong from = s->Gpr[5];
            for (int i = 1; i < level; i++)
            {
                from -= (uint)size;
                ulong value = Load(s, v, from & mask, size);
                pointer = (pointer - (uint)size) & mask;
                Store(s, v, pointer, size, value);
            }

            pointer = (pointer - (uint)size) & mask;
            Store(s, v, pointer, size, frame);
        }

        pointer = (pointer - frameSize) & mask;
        // The last stack location is checked for write permission before anything is committed.
        ulong linear = Operand.SegmentLinear(s, v, Segment.Ss, pointer, size, write: true);
        v.Cpu.Linear.ProbeWrite(linear, size, isStack: true);
        s->Gpr[4] = mask == 0xFFFF ? (oldPointer & ~mask) | pointer : pointer;
        StoreBySize(s->Gpr + 5, size, frame);
        return op + 1;
    }

    private static void StoreBySize(void* register, int size, ulong value)
    {
        if (size == 2)
            Size16.StoreRegister(register, value);
        else if (size == 4)
            Size32.StoreRegister(register, value);
        else
            Size64.StoreRegister(register, value);
    }

    private static void Store(CpuState* s, Interpreter v, ulong offset, int size, ulong value)
    {
        ulong linear = s->Is64Bit ? offset : Operand.SegmentLinear(s, v, Segment.Ss, offset, size, write: true);
        if (size == 8)
            v.Cpu.Linear.Write(linear, value, isStack: true);
        else if (size == 4)
            v.Cpu.Linear.Write(linear, (uint)value, isStack: true);
        else
            v.Cpu.Linear.Write(linear, (ushort)value, isStack: true);
    }

    private static ulong Load(CpuState* s, Interpreter v, ulong offset, int size)
    {
        ulong linear = s->Is64Bit ? offset : Operand.SegmentLinear(s, v, Segment.Ss, offset, size, write: false);
        return size switch
        {
            8 => v.Cpu.Linear.Read<ulong>(linear, isStack: true),
            4 => v.Cpu.Linear.Read<uint>(linear, isStack: true),
            _ => v.Cpu.Linear.Read<ushort>(linear, isStack: true),
        };
    }

    private static DecodedOp* PushRegister64(CpuState* s, DecodedOp* op, Interpreter v)
    {
        ulong rsp = s->Gpr[4] - 8;
        v.Cpu.Linear.Write(rsp, *(ulong*)Operand.Register(s, op->Destination), isStack: true);
        s->Gpr[4] = rsp;
        return op + 1;
    }

    private static DecodedOp* PushImmediate64(CpuState* s, DecodedOp* op, Interpreter v)
    {
        ulong rsp = s->Gpr[4] - 8;
        v.Cpu.Linear.Write(rsp, op->Immediate, isStack: true);
        s->Gpr[4] = rsp;
        return op + 1;
    }

    private static DecodedOp* PopRegister64(CpuState* s, DecodedOp* op, Interpreter v)
    {
        ulong rsp = s->Gpr[4];
        ulong value = v.Cpu.Linear.Read<ulong>(rsp, isStack: true);
        s->Gpr[4] = rsp + 8;
        *(ulong*)Operand.Register(s, op->Destination) = value;
        return op + 1;
    }

    private static DecodedOp* PushRegister(CpuState* s, DecodedOp* op, Interpreter v)
    {
        Push(s, v, op->OperandSize, *(ulong*)Operand.Register(s, op->Destination));
        return op + 1;
    }

    private static DecodedOp* PushImmediate(CpuState* s, DecodedOp* op, Interpreter v)
    {
        Push(s, v, op->OperandSize, op->Immediate);
        return op + 1;
    }

    // A selector is zero-extended to the operand size; with a 32-bit operand newer processors write only 16 bits.
    private static DecodedOp* PushSegment(CpuState* s, DecodedOp* op, Interpreter v)
    {
        ushort selector = s->SegmentAt((Segment)op->Extra)->Selector;
        int size = op->OperandSize;
        if (size != 4)
        {
            Push(s, v, size, selector);
            return op + 1;
        }

        ulong mask = PointerMask(s);
        ulong offset = (s->Gpr[4] - 4) & mask;
        Store(s, v, offset, 2, selector);
        s->Gpr[4] = mask == 0xFFFF ? (s->Gpr[4] & ~mask) | offset : offset;
        return op + 1;
    }

    private static DecodedOp* PushMemory(CpuState* s, DecodedOp* op, Interpreter v)
    {
        ulong value = op->OperandSize switch
        {
            2 => Operand.Read<Size16>(s, op, v),
            4 => Operand.Read<Size32>(s, op, v),
            _ => Operand.Read<Size64>(s, op, v),
        };
        Push(s, v, op->OperandSize, value);
        return op + 1;
    }

    private static DecodedOp* PopRegister(CpuState* s, DecodedOp* op, Interpreter v)
    {
        ulong value = Peek(s, v, op->OperandSize, 0);
        AdjustPointer(s, op->OperandSize);
        StoreBySize(Operand.Register(s, op->Destination), op->OperandSize, value);
        return op + 1;
    }

    private static DecodedOp* PopSegment(CpuState* s, DecodedOp* op, Interpreter v)
    {
        v.EnterSystem(op);
        ushort selector = (ushort)Peek(s, v, 2, 0);
        var segment = (Segment)op->Extra;
        ulong mask = PointerMask(s);
        SegmentLoader.Load(v.Cpu, segment, selector);
        // The width of the stack pointer is that of before the load.
        ulong pointer = (s->Gpr[4] + op->OperandSize) & mask;
        s->Gpr[4] = mask == 0xFFFF ? (s->Gpr[4] & ~mask) | pointer : pointer;
        return v.AfterSegmentLoad(op, segment);
    }

    // The address is computed with the incremented stack pointer; on a fault the pointer must be the old one.
    private static DecodedOp* PopMemory(CpuState* s, DecodedOp* op, Interpreter v)
    {
        int size = op->OperandSize;
        ulong value = Peek(s, v, size, 0);
        ulong oldPointer = s->Gpr[4];
        AdjustPointer(s, size);
        try
        {
            if (size == 2)
                Operand.Write<Size16>(s, op, v, value);
            else if (size == 4)
                Operand.Write<Size32>(s, op, v, value);
            else
                Operand.Write<Size64>(s, op, v, value);
        }
        catch (GuestFault)
        {
            s->Gpr[4] = oldPointer;
            throw;
        }

        return op + 1;
    }
}
