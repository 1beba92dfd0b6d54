using Doppel.Machine.Cpu.Segments;

namespace Doppel.Machine.Cpu.Interpreter.Handlers;

/// <summary>Moves to and from segment registers, far pointer loads, and the descriptor instructions.</summary>
internal static unsafe class SegmentHandlers
{
    internal static DecodedOp* LoadFromRegister(CpuState* s, DecodedOp* op, Interpreter v)
    {
        v.EnterSystem(op);
        SegmentLoader.Load(v.Cpu, (Segment)op->Extra, *(ushort*)Operand.Register(s, op->Source));
        return v.AfterSegmentLoad(op, (Segment)op->Extra);
    }

    internal static DecodedOp* LoadFromMemory(CpuState* s, DecodedOp* op, Interpreter v)
    {
        v.EnterSystem(op);
        SegmentLoader.Load(v.Cpu, (Segment)op->Extra, (ushort)Operand.Read<Size16>(s, op, v));
        return v.AfterSegmentLoad(op, (Segment)op->Extra);
    }

    internal static DecodedOp* StoreToRegister(CpuState* s, DecodedOp* op, Interpreter v)
    {
        StoreBySize(s, op, s->SegmentAt((Segment)op->Extra)->Selector);
        return op + 1;
    }

    internal static DecodedOp* StoreToMemory(CpuState* s, DecodedOp* op, Interpreter v)
    {
        Operand.Write<Size16>(s, op, v, s->SegmentAt((Segment)op->Extra)->Selector);
        return op + 1;
    }

    /// <summary>LDS, LES, LFS, LGS, LSS: Extra is the segment.</summary>
    internal static DecodedOp* LoadFarPointer(CpuState* s, DecodedOp* op, Interpreter v)
    {
        v.EnterSystem(op);
        BranchHandlers.FarPointer(s, op, v, out ushort selector, out ulong offset);
        SegmentLoader.Load(v.Cpu, (Segment)op->Extra, selector);
        StoreBySize(s, op, offset);
        return v.AfterSegmentLoad(op, (Segment)op->Extra, shadow: false);
    }

    internal static DecodedOp* Lgdt(CpuState* s, DecodedOp* op, Interpreter v)
    {
        v.EnterSystem(op);
        DescriptorInstructions.Lgdt(v.Cpu, TableOperand(s, op, v, write: false), op->OperandSize);
        return v.LeaveSystem(op);
    }

    internal static DecodedOp* Lidt(CpuState* s, DecodedOp* op, Interpreter v)
    {
        v.EnterSystem(op);
        DescriptorInstructions.Lidt(v.Cpu, TableOperand(s, op, v, write: false), op->OperandSize);
        return v.LeaveSystem(op);
    }

    internal static DecodedOp* Sgdt(CpuState* s, DecodedOp* op, Interpreter v) => StoreTable(s, op, v, DescriptorInstructions.Sgdt(v.Cpu));

    internal static DecodedOp* Sidt(CpuState* s, DecodedOp* op, Interpreter v) => StoreTable(s, op, v, DescriptorInstructions.Sidt(v.Cpu));

    internal static DecodedOp* Lldt(CpuState* s, DecodedOp* op, Interpreter v)
    {
        v.EnterSystem(op);
        DescriptorInstructions.RequireProtected(v.Cpu);
        if (s->Cpl != 0)
            throw v.Cpu.GeneralProtection();
        SegmentLoader.LoadLdtr(v.Cpu, Selector(s, op, v));
        return v.LeaveSystem(op);
    }

    internal static DecodedOp* Ltr(CpuState* s, DecodedOp* op, Interpreter v)
    {
        v.EnterSystem(op);
        DescriptorInstructions.RequireProtected(v.Cpu);
        if (s->Cpl != 0)
            throw v.Cpu.GeneralProtection();
        SegmentLoader.LoadTr(v.Cpu, Selector(s, op, v));
        return v.LeaveSystem(op);
    }

    internal static DecodedOp* Sldt(CpuState* s, DecodedOp* op, Interpreter v) => StoreWord(s, op, v, DescriptorInstructions.Sldt(v.Cpu));

    internal static DecodedOp* Str(CpuState* s, DecodedOp* op, Interpreter v) => StoreWord(s, op, v, DescriptorInstructions.Str(v.Cpu));

    internal static DecodedOp* Smsw(CpuState* s, DecodedOp* op, Interpreter v) => StoreWord(s, op, v, DescriptorInstructions.Smsw(v.Cpu));

    internal static DecodedOp* Lar(CpuState* s, DecodedOp* op, Interpreter v)
    {
        DescriptorInstructions.RequireProtected(v.Cpu);
        bool found = DescriptorInstructions.Lar(v.Cpu, SourceSelector(s, op, v), out uint rights);
        if (found)
            StoreBySize(s, op, rights);
        s->FlagZero = found ? 0u : 1u;
        return op + 1;
    }

    internal static DecodedOp* Lsl(CpuState* s, DecodedOp* op, Interpreter v)
    {
        DescriptorInstructions.RequireProtected(v.Cpu);
        bool found = DescriptorInstructions.Lsl(v.Cpu, SourceSelector(s, op, v), out uint limit);
        if (found)
            StoreBySize(s, op, limit);
        s->FlagZero = found ? 0u : 1u;
        return op + 1;
    }

    internal static DecodedOp* Verr(CpuState* s, DecodedOp* op, Interpreter v)
    {
        DescriptorInstructions.RequireProtected(v.Cpu);
        s->FlagZero = DescriptorInstructions.Verr(v.Cpu, Selector(s, op, v)) ? 0u : 1u;
        return op + 1;
    }

    internal static DecodedOp* Verw(CpuState* s, DecodedOp* op, Interpreter v)
    {
        DescriptorInstructions.RequireProtected(v.Cpu);
        s->FlagZero = DescriptorInstructions.Verw(v.Cpu, Selector(s, op, v)) ? 0u : 1u;
        return op + 1;
    }

    internal static DecodedOp* Arpl(CpuState* s, DecodedOp* op, Interpreter v)
    {
        DescriptorInstructions.RequireProtected(v.Cpu);
        bool onMemory = op->Destination == OpBuilder.NoRegister;
        ushort source = *(ushort*)Operand.Register(s, op->Source);
        ulong address = 0;
        ushort destination;
        if (onMemory)
        {
            // What need not be adjusted isn't written, and may be where nothing can be.
            address = Operand.Linear(s, op, v, 2, write: false);
            destination = (ushort)Operand.ReadLinear<Size16>(s, op, v, address);
        }
        else
        {
            destination = *(ushort*)Operand.Register(s, op->Destination);
        }

        bool adjusts = DescriptorInstructions.Arpl(v.Cpu, ref destination, source);
        if (adjusts)
        {
            if (onMemory)
            {
                address = Operand.Linear(s, op, v, 2, write: true);
                v.Cpu.Linear.ProbeWrite(address, 2, op->Segment8 == Segment.Ss);
                Operand.WriteLinear<Size16>(s, op, v, address, destination);
            }
            else
            {
                Size16.StoreRegister(Operand.Register(s, op->Destination), destination);
            }
        }

        s->FlagZero = adjusts ? 0u : 1u;
        return op + 1;
    }

    private static ushort Selector(CpuState* s, DecodedOp* op, Interpreter v) =>
        op->Destination == OpBuilder.NoRegister ? (ushort)Operand.Read<Size16>(s, op, v) : *(ushort*)Operand.Register(s, op->Destination);

    private static ushort SourceSelector(CpuState* s, DecodedOp* op, Interpreter v) =>
        op->Source == OpBuilder.NoRegister ? (ushort)Operand.Read<Size16>(s, op, v) : *(ushort*)Operand.Register(s, op->Source);

    // To memory 16 bits, to a register the operand size.
    private static DecodedOp* StoreWord(CpuState* s, DecodedOp* op, Interpreter v, ulong value)
    {
        if (op->Destination == OpBuilder.NoRegister)
            Operand.Write<Size16>(s, op, v, (ushort)value);
        else
            StoreBySize(s, op, value);
        return op + 1;
    }

    private static void StoreBySize(CpuState* s, DecodedOp* op, ulong value)
    {
        byte* destination = Operand.Register(s, op->Destination);
        if (op->OperandSize == 2)
            Size16.StoreRegister(destination, value);
        else if (op->OperandSize == 4)
            Size32.StoreRegister(destination, value);
        else
            Size64.StoreRegister(destination, value);
    }

    private static ulong TableOperand(CpuState* s, DecodedOp* op, Interpreter v, bool write) =>
        Operand.Linear(s, op, v, s->Is64Bit ? 10 : 6, write);

    private static DecodedOp* StoreTable(CpuState* s, DecodedOp* op, Interpreter v, DescriptorTableRegister table)
    {
        int size = s->Is64Bit ? 10 : 6;
        ulong address = TableOperand(s, op, v, write: true);
        Span<byte> image = stackalloc byte[10];
        BitConverter.TryWriteBytes(image, (ushort)table.Limit);
        BitConverter.TryWriteBytes(image[2..], table.Base);
        v.Cpu.Linear.WriteBlock(address, image[..size], op->Segment8 == Segment.Ss);
        return op + 1;
    }
}
