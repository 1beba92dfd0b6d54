using Doppel.Machine.Cpu.Mmu;
using Doppel.Machine.Cpu.Segments;
using Iced.Intel;

namespace Doppel.Machine.Cpu.Interpreter.Handlers;

/// <summary>
/// MOVS, STOS, LODS, SCAS, CMPS, INS and OUTS, with and without repetition. A repeated instruction can be interrupted
/// between elements with RCX, RSI and RDI updated; it counts as one retired instruction when it ends. Runs of MOVS and
/// STOS inside a page are checked once and done as a block.
/// </summary>
internal static unsafe class StringHandlers
{
    // How many elements are done between two looks at the pending events.
    private const int Burst = 256;

    internal static void Select(in Instruction instruction, DecodedOp* op)
    {
        op->Extra = instruction.HasRepnePrefix ? 2 : instruction.HasRepePrefix ? 1 : 0;
        switch (op->OperandSize)
        {
            case 1:
                Select<Size8>(instruction.Mnemonic, op);
                break;
            case 2:
                Select<Size16>(instruction.Mnemonic, op);
                break;
            case 4:
                Select<Size32>(instruction.Mnemonic, op);
                break;
            default:
                Select<Size64>(instruction.Mnemonic, op);
                break;
        }
    }

    private static void Select<TSize>(Mnemonic mnemonic, DecodedOp* op)
        where TSize : struct, IOperandSize
    {
        switch (mnemonic)
        {
            case Mnemonic.Movsb or Mnemonic.Movsw or Mnemonic.Movsd or Mnemonic.Movsq:
                op->Handler = &Movs<TSize>;
                break;
            case Mnemonic.Stosb or Mnemonic.Stosw or Mnemonic.Stosd or Mnemonic.Stosq:
                op->Handler = &Stos<TSize>;
                break;
            case Mnemonic.Lodsb or Mnemonic.Lodsw or Mnemonic.Lodsd or Mnemonic.Lodsq:
                op->Handler = &Lods<TSize>;
                break;
            case Mnemonic.Scasb or Mnemonic.Scasw or Mnemonic.Scasd or Mnemonic.Scasq:
                op->Handler = &Scas<TSize>;
                break;
            case Mnemonic.Cmpsb or Mnemonic.Cmpsw or Mnemonic.Cmpsd or Mnemonic.Cmpsq:
                op->Handler = &Cmps<TSize>;
                break;
            case Mnemonic.Insb or Mnemonic.Insw or Mnemonic.Insd:
                op->Handler = &Ins<TSize>;
                break;
            default:
                op->Handler = &Outs<TSize>;
                break;
        }
    }

    private static ulong Register(CpuState* s, DecodedOp* op, int register) => op->AddressSize switch
    {
        8 => s->Gpr[register],
        4 => (uint)s->Gpr[register],
        _ => (ushort)s->Gpr[register],
    };

    private static void SetRegister(CpuState* s, DecodedOp* op, int register, ulong value)
    {
        if (op->AddressSize == 8)
            s->Gpr[register] = value;
        else if (op->AddressSize == 4)
            s->Gpr[register] = (uint)value;
        else
            Size16.StoreRegister(s->Gpr + register, value);
    }

    private static void Advance<TSize>(CpuState* s, DecodedOp* op, int register)
        where TSize : struct, IOperandSize
    {
        long step = (s->FlagSystem & CpuFlags.Df) != 0 ? -TSize.Bytes : TSize.Bytes;
        SetRegister(s, op, register, Register(s, op, register) + (ulong)step);
    }

    private static ulong SourceAddress<TSize>(CpuState* s, DecodedOp* op, Interpreter v)
        where TSize : struct, IOperandSize
    {
        ulong offset = Register(s, op, 6);
        return op->Kind is AddressKind.Flat or AddressKind.Flat32
            ? offset + *(ulong*)((byte*)s + op->SegmentBase)
            : Operand.SegmentLinear(s, v, op->Segment8, offset, TSize.Bytes, write: false);
    }

    private static ulong DestinationAddress<TSize>(CpuState* s, DecodedOp* op, Interpreter v, bool write)
        where TSize : struct, IOperandSize
    {
        ulong offset = Register(s, op, 7);
        return op->Kind is AddressKind.Flat or AddressKind.Flat32
            ? offset
            : Operand.SegmentLinear(s, v, Segment.Es, offset, TSize.Bytes, write);
    }

    private static ulong ReadAt<TSize>(CpuState* s, Interpreter v, ulong address, bool isStack)
        where TSize : struct, IOperandSize
    {
        TlbEntry* entry = TlbEntry.Of(s->Tlb, address);
        return entry->ReadTag + address + (ulong)(TSize.Bytes - 1) < 4096
            ? TSize.Load((void*)(address + entry->Addend))
            : v.Cpu.Linear.ReadSlow(address, TSize.Bytes, isStack);
    }

    private static void WriteAt<TSize>(CpuState* s, Interpreter v, ulong address, ulong value)
        where TSize : struct, IOperandSize
    {
        TlbEntry* entry = TlbEntry.Of(s->Tlb, address);
        if (entry->WriteTag + address + (ulong)(TSize.Bytes - 1) < 4096)
            TSize.Store((void*)(address + entry->Addend), value);
        else
            v.Cpu.Linear.WriteSlow(address, TSize.Bytes, value, isStack: false);
    }

    /// <summary>
    /// Repeats one element until the count or the condition ends it. Returns to the run loop, to come back to this
    /// instruction, when an event is pending or every iteration is to be seen (single step).
    /// </summary>
    private static DecodedOp* Repeat(CpuState* s, DecodedOp* op, Interpreter v, delegate*<CpuState*, DecodedOp*, Interpreter, void> element, bool testsZero)
    {
        if (op->Extra == 0)
        {
            element(s, op, v);
            return op + 1;
        }

        for (int done = 0; ; done++)
        {
            ulong count = Register(s, op, 1);
            if (count == 0)
                return op + 1;
            if (done != 0 && (v.SingleIteration || (done % Burst == 0 && s->PendingEvents != 0)))
                return v.LeaveBefore(op);
            element(s, op, v);
            SetRegister(s, op, 1, count - 1);
            if (testsZero && (s->FlagZero == 0) != (op->Extra == 1))
                return op + 1;
        }
    }

    private static void MovsElement<TSize>(CpuState* s, DecodedOp* op, Interpreter v)
        where TSize : struct, IOperandSize
    {
        ulong value = ReadAt<TSize>(s, v, SourceAddress<TSize>(s, op, v), op->Segment8 == Segment.Ss);
        WriteAt<TSize>(s, v, DestinationAddress<TSize>(s, op, v, write: true), value);
        Advance<TSize>(s, op, 6);
        Advance<TSize>(s, op, 7);
    }

    private static DecodedOp* Movs<TSize>(CpuState* s, DecodedOp* op, Interpreter v)
        where TSize : struct, IOperandSize
    {
        while (op->Extra != 0 && !v.SingleIteration)
        {
            ulong count = Register(s, op, 1);
            if (count == 0)
                return op + 1;
            if (s->PendingEvents != 0)
                break;
            ulong done = MoveBlock<TSize>(s, op, count);
            if (done == 0)
            {
                MovsElement<TSize>(s, op, v);
                done = 1;
            }

            SetRegister(s, op, 1, count - done);
        }

        return Repeat(s, op, v, &MovsElement<TSize>, testsZero: false);
    }

    /// <summary>Moves as many elements as lie in one source and one destination page; 0 when the fast path does not apply.</summary>
    private static ulong MoveBlock<TSize>(CpuState* s, DecodedOp* op, ulong count)
        where TSize : struct, IOperandSize
    {
        if ((s->FlagSystem & CpuFlags.Df) != 0)
            return 0;
        ulong source = FindRun<TSize>(s, op, op->Segment8, 6, out ulong readable);
        ulong destination = FindRun<TSize>(s, op, Segment.Es, 7, out ulong writable);
        ulong bytes = Math.Min(Math.Min(readable, 4096 - (source & 0xFFF)), Math.Min(writable, 4096 - (destination & 0xFFF)));
        bytes = Math.Min(bytes / (uint)TSize.Bytes, count) * (uint)TSize.Bytes;
        if (bytes == 0)
            return 0;
        TlbEntry* from = TlbEntry.Of(s->Tlb, source);
        TlbEntry* to = TlbEntry.Of(s->Tlb, destination);
        if (from->ReadTag + source + bytes - 1 >= 4096 || to->WriteTag + destination + bytes - 1 >= 4096)
            return 0;
        byte* p = (byte*)(source + from->Addend);
        byte* q = (byte*)(destination + to->Addend);
        if (q > p && q < p + bytes)
        {
            // Overlap forward: each element may be the source of a later one.
            for (ulong i = 0; i < bytes; i += (uint)TSize.Bytes)
                TSize.Store(q + i, TSize.Load(p + i));
        }
        else
        {
            Buffer.MemoryCopy(p, q, bytes, bytes);
        }

        SetRegister(s, op, 6, Register(s, op, 6) + bytes);
        SetRegister(s, op, 7, Register(s, op, 7) + bytes);
        return bytes / (uint)TSize.Bytes;
    }

    /// <summary>The linear address of the next element, and how many bytes from there on neither the segment's limit nor a wrap ends; 0 when elements are to be checked one by one.</summary>
    private static ulong FindRun<TSize>(CpuState* s, DecodedOp* op, Segment segment, int register, out ulong length)
        where TSize : struct, IOperandSize
    {
        ulong offset = Register(s, op, register);
        length = 0;
        if (op->Kind == AddressKind.Flat)
        {
            length = ulong.MaxValue;
            return register == 6 ? offset + *(ulong*)((byte*)s + op->SegmentBase) : offset;
        }

        SegmentRegister* reached = s->SegmentAt(segment);
        if (op->Kind is not (AddressKind.Segmented16 or AddressKind.Segmented32) || !Operand.IsWritableUpwards(s, reached))
            return 0;
        ulong linear = (uint)(reached->Base + offset);
        if (offset + (uint)(TSize.Bytes - 1) <= reached->Limit)
            length = Math.Min(Math.Min(reached->Limit + 1UL, op->AddressSize == 2 ? 1UL << 16 : 1UL << 32) - offset, (1UL << 32) - linear);
        return linear;
    }

    private static void StosElement<TSize>(CpuState* s, DecodedOp* op, Interpreter v)
        where TSize : struct, IOperandSize
    {
        WriteAt<TSize>(s, v, DestinationAddress<TSize>(s, op, v, write: true), TSize.Load(s->Gpr));
        Advance<TSize>(s, op, 7);
    }

    private static DecodedOp* Stos<TSize>(CpuState* s, DecodedOp* op, Interpreter v)
        where TSize : struct, IOperandSize
    {
        while (op->Extra != 0 && !v.SingleIteration)
        {
            ulong count = Register(s, op, 1);
            if (count == 0)
                return op + 1;
            if (s->PendingEvents != 0)
                break;
            ulong done = FillBlock<TSize>(s, op, count);
            if (done == 0)
            {
                StosElement<TSize>(s, op, v);
                done = 1;
            }

            SetRegister(s, op, 1, count - done);
        }

        return Repeat(s, op, v, &StosElement<TSize>, testsZero: false);
    }

    private static ulong FillBlock<TSize>(CpuState* s, DecodedOp* op, ulong count)
        where TSize : struct, IOperandSize
    {
        if ((s->FlagSystem & CpuFlags.Df) != 0)
            return 0;
        ulong destination = FindRun<TSize>(s, op, Segment.Es, 7, out ulong writable);
        ulong elements = Math.Min(Math.Min(writable, 4096 - (destination & 0xFFF)) / (uint)TSize.Bytes, count);
        ulong bytes = elements * (uint)TSize.Bytes;
        if (bytes == 0)
            return 0;
        TlbEntry* to = TlbEntry.Of(s->Tlb, destination);
        if (to->WriteTag + destination + bytes - 1 >= 4096)
            return 0;
        byte* q = (byte*)(destination + to->Addend);
        switch (TSize.Bytes)
        {
            case 1:
                new Span<byte>(q, (int)elements).Fill((byte)s->Gpr[0]);
                break;
            case 2:
                new Span<ushort>(q, (int)elements).Fill((ushort)s->Gpr[0]);
                break;
            case 4:
                new Span<uint>(q, (int)elements).Fill((uint)s->Gpr[0]);
                break;
            default:
                new Span<ulong>(q, (int)elements).Fill(s->Gpr[0]);
                break;
        }

        SetRegister(s, op, 7, Register(s, op, 7) + bytes);
        return elements;
    }

    private static void LodsElement<TSize>(CpuState* s, DecodedOp* op, Interpreter v)
        where TSize : struct, IOperandSize
    {
        TSize.StoreRegister(s->Gpr, ReadAt<TSize>(s, v, SourceAddress<TSize>(s, op, v), op->Segment8 == Segment.Ss));
        Advance<TSize>(s, op, 6);
    }

    private static DecodedOp* Lods<TSize>(CpuState* s, DecodedOp* op, Interpreter v)
        where TSize : struct, IOperandSize => Repeat(s, op, v, &LodsElement<TSize>, testsZero: false);

    private static void ScasElement<TSize>(CpuState* s, DecodedOp* op, Interpreter v)
        where TSize : struct, IOperandSize
    {
        ulong value = ReadAt<TSize>(s, v, DestinationAddress<TSize>(s, op, v, write: false), isStack: false);
        _ = SubOperation.Compute<TSize>(s, TSize.Load(s->Gpr), value);
        Advance<TSize>(s, op, 7);
    }

    private static DecodedOp* Scas<TSize>(CpuState* s, DecodedOp* op, Interpreter v)
        where TSize : struct, IOperandSize => Repeat(s, op, v, &ScasElement<TSize>, testsZero: true);

    private static void CmpsElement<TSize>(CpuState* s, DecodedOp* op, Interpreter v)
        where TSize : struct, IOperandSize
    {
        ulong a = ReadAt<TSize>(s, v, SourceAddress<TSize>(s, op, v), op->Segment8 == Segment.Ss);
        ulong b = ReadAt<TSize>(s, v, DestinationAddress<TSize>(s, op, v, write: false), isStack: false);
        _ = SubOperation.Compute<TSize>(s, a, b);
        Advance<TSize>(s, op, 6);
        Advance<TSize>(s, op, 7);
    }

    private static DecodedOp* Cmps<TSize>(CpuState* s, DecodedOp* op, Interpreter v)
        where TSize : struct, IOperandSize => Repeat(s, op, v, &CmpsElement<TSize>, testsZero: true);

    private static void InsElement<TSize>(CpuState* s, DecodedOp* op, Interpreter v)
        where TSize : struct, IOperandSize
    {
        ulong address = DestinationAddress<TSize>(s, op, v, write: true);
        // The port is read only when the value can be stored: reading may have effects.
        v.Cpu.Linear.ProbeWrite(address, TSize.Bytes);
        WriteAt<TSize>(s, v, address, v.Cpu.Ports.Read((ushort)s->Gpr[2], TSize.Bytes));
        Advance<TSize>(s, op, 7);
    }

    private static DecodedOp* Ins<TSize>(CpuState* s, DecodedOp* op, Interpreter v)
        where TSize : struct, IOperandSize
    {
        v.EnterSystem(op);
        IoPermission.Check(v.Cpu, (ushort)s->Gpr[2], TSize.Bytes);
        return Repeat(s, op, v, &InsElement<TSize>, testsZero: false);
    }

    private static void OutsElement<TSize>(CpuState* s, DecodedOp* op, Interpreter v)
        where TSize : struct, IOperandSize
    {
        ulong value = ReadAt<TSize>(s, v, SourceAddress<TSize>(s, op, v), op->Segment8 == Segment.Ss);
        v.Cpu.Ports.Write((ushort)s->Gpr[2], TSize.Bytes, value);
        Advance<TSize>(s, op, 6);
    }

    private static DecodedOp* Outs<TSize>(CpuState* s, DecodedOp* op, Interpreter v)
        where TSize : struct, IOperandSize
    {
        v.EnterSystem(op);
        IoPermission.Check(v.Cpu, (ushort)s->Gpr[2], TSize.Bytes);
        return Repeat(s, op, v, &OutsElement<TSize>, testsZero: false);
    }
}
