using System.Numerics;
using Iced.Intel;

namespace Doppel.Machine.Cpu.Interpreter.Handlers;

/// <summary>BT, BTS, BTR, BTC, BSF, BSR, XADD, CMPXCHG, CMPXCHG8B and CMPXCHG16B.</summary>
internal static unsafe class BitHandlers
{
    /// <summary>What a bit test does with the bit; the value of <see cref="DecodedOp.Extra"/>, low two bits.</summary>
    internal enum BitAction
    {
        Test,
        Set,
        Reset,
        Complement,
    }

    internal static void SelectBitTest(in Instruction instruction, DecodedOp* op, BitAction action)
    {
        bool byRegister = instruction.Op1Kind == OpKind.Register;
        op->Extra = (int)action | (instruction.HasLockPrefix ? 4 : 0);
        if (!byRegister)
            op->Immediate &= (uint)(op->OperandSize * 8) - 1;
        bool onMemory = instruction.Op0Kind == OpKind.Memory;
        op->Handler = (onMemory, byRegister, op->OperandSize) switch
        {
            (false, true, 2) => &RegisterByRegister<Size16>,
            (false, true, 4) => &RegisterByRegister<Size32>,
            (false, true, _) => &RegisterByRegister<Size64>,
            (false, false, 2) => &RegisterByImmediate<Size16>,
            (false, false, 4) => &RegisterByImmediate<Size32>,
            (false, false, _) => &RegisterByImmediate<Size64>,
            (true, true, 2) => &MemoryByRegister<Size16>,
            (true, true, 4) => &MemoryByRegister<Size32>,
            (true, true, _) => &MemoryByRegister<Size64>,
            (true, false, 2) => &MemoryByImmediate<Size16>,
            (true, false, 4) => &MemoryByImmediate<Size32>,
            (true, false, _) => &MemoryByImmediate<Size64>,
        };
    }

    internal static void SelectScan(in Instruction instruction, DecodedOp* op, bool reverse)
    {
        op->Extra = instruction.Op1Kind == OpKind.Memory ? 2 : 0;
        op->Handler = (reverse, op->OperandSize) switch
        {
            (false, 2) => &ScanForward<Size16>,
            (false, 4) => &ScanForward<Size32>,
            (false, _) => &ScanForward<Size64>,
            (true, 2) => &ScanReverse<Size16>,
            (true, 4) => &ScanReverse<Size32>,
            (true, _) => &ScanReverse<Size64>,
        };
    }

    internal static void SelectXadd(in Instruction instruction, DecodedOp* op)
    {
        bool onMemory = instruction.Op0Kind == OpKind.Memory;
        op->Handler = (onMemory, op->OperandSize) switch
        {
            (false, 1) => &XaddRegister<Size8>,
            (false, 2) => &XaddRegister<Size16>,
            (false, 4) => &XaddRegister<Size32>,
            (false, _) => &XaddRegister<Size64>,
            (true, 1) => &XaddMemory<Size8>,
            (true, 2) => &XaddMemory<Size16>,
            (true, 4) => &XaddMemory<Size32>,
            (true, _) => &XaddMemory<Size64>,
        };
    }

    internal static void SelectCmpxchg(in Instruction instruction, DecodedOp* op)
    {
        bool onMemory = instruction.Op0Kind == OpKind.Memory;
        op->Handler = (onMemory, op->OperandSize) switch
        {
            (false, 1) => &CmpxchgRegister<Size8>,
            (false, 2) => &CmpxchgRegister<Size16>,
            (false, 4) => &CmpxchgRegister<Size32>,
            (false, _) => &CmpxchgRegister<Size64>,
            (true, 1) => &CmpxchgMemory<Size8>,
            (true, 2) => &CmpxchgMemory<Size16>,
            (true, 4) => &CmpxchgMemory<Size32>,
            (true, _) => &CmpxchgMemory<Size64>,
        };
    }

    internal static DecodedOp* Cmpxchg8b(CpuState* s, DecodedOp* op, Interpreter v)
    {
        var update = new LockedUpdate<Size64>(s, op, v);
        ulong expected = (uint)s->Gpr[0] | (s->Gpr[2] << 32);
        ulong replacement = (uint)s->Gpr[3] | (s->Gpr[1] << 32);
        // The write cycle always happens: on a mismatch the old value is written back.
        while (!update.TryCommit(update.Old == expected ? replacement : update.Old))
        {
        }

        update.Finish();
        bool equal = update.Old == expected;
        SetZero(s, equal);
        if (!equal)
        {
            s->Gpr[0] = (uint)update.Old;
            s->Gpr[2] = update.Old >> 32;
        }

        return op + 1;
    }

    internal static DecodedOp* Cmpxchg16b(CpuState* s, DecodedOp* op, Interpreter v)
    {
        ulong address = Operand.Linear(s, op, v, 16, write: true);
        if ((address & 15) != 0)
            throw v.Cpu.GeneralProtection();
        bool isStack = op->Segment8 == Segment.Ss;
        byte* host = v.Cpu.Linear.HostPointerForUpdate(address, 16, out ulong physical, isStack);
        var expected = new UInt128(s->Gpr[2], s->Gpr[0]);
        var replacement = new UInt128(s->Gpr[1], s->Gpr[3]);
        UInt128 old = host != null
            ? v.CompareExchange16(host, replacement, expected)
            : Cmpxchg16bOnBus(v, address, replacement, expected, isStack);
        if (host != null)
            v.Cpu.Physical.Memory.NoteWrite(physical, 16);
        bool equal = old == expected;
        SetZero(s, equal);
        if (!equal)
        {
            s->Gpr[0] = (ulong)old;
            s->Gpr[2] = (ulong)(old >> 64);
        }

        return op + 1;
    }

    private static UInt128 Cmpxchg16bOnBus(Interpreter v, ulong address, UInt128 replacement, UInt128 expected, bool isStack)
    {
        lock (v.Cpu.Physical.Mmio.Lock)
        {
            ulong low = v.Cpu.Linear.ReadSlow(address, 8, isStack);
            ulong high = v.Cpu.Linear.ReadSlow(address + 8, 8, isStack);
            var old = new UInt128(high, low);
            UInt128 value = old == expected ? replacement : old;
            v.Cpu.Linear.WriteSlow(address, 8, (ulong)value, isStack);
            v.Cpu.Linear.WriteSlow(address + 8, 8, (ulong)(value >> 64), isStack);
            return old;
        }
    }

    // Only ZF changes; SF and PF stand in a word of their own.
    private static void SetZero(CpuState* s, bool zero) => s->FlagZero = zero ? 0u : 1u;

    private static void SetScanFlags(CpuState* s, bool zero, ulong index)
    {
        SetZero(s, zero);
        s->FlagSignParity = index;
        s->FlagCarryOverflow = 0;
    }

    private static void SetCarry(CpuState* s, ulong carry) => s->FlagCarryOverflow = (s->FlagCarryOverflow & ~CpuFlags.Cf) | carry;

    private static ulong Apply(int action, ulong value, ulong bit) => (BitAction)(action & 3) switch
    {
        BitAction.Set => value | bit,
        BitAction.Reset => value & ~bit,
        BitAction.Complement => value ^ bit,
        _ => value,
    };

    private static void OnRegister<TSize>(CpuState* s, DecodedOp* op, ulong index)
        where TSize : struct, IOperandSize
    {
        int bit = (int)index & (TSize.Bits - 1);
        byte* destination = Operand.Register(s, op->Destination);
        ulong value = TSize.Load(destination);
        SetCarry(s, (value >> bit) & 1);
        if ((op->Extra & 3) != 0)
            TSize.StoreRegister(destination, Apply(op->Extra, value, 1UL << bit));
    }

    private static DecodedOp* RegisterByRegister<TSize>(CpuState* s, DecodedOp* op, Interpreter v)
        where TSize : struct, IOperandSize
    {
        OnRegister<TSize>(s, op, TSize.Load(Operand.Register(s, op->Source)));
        return op + 1;
    }

    private static DecodedOp* RegisterByImmediate<TSize>(CpuState* s, DecodedOp* op, Interpreter v)
        where TSize : struct, IOperandSize
    {
        OnRegister<TSize>(s, op, op->Immediate);
        return op + 1;
    }

    private static void OnMemory<TSize>(CpuState* s, DecodedOp* op, Interpreter v, ulong address, int bit)
        where TSize : struct, IOperandSize
    {
        if ((op->Extra & 3) == 0)
        {
            SetCarry(s, (Operand.ReadLinear<TSize>(s, op, v, address) >> bit) & 1);
            return;
        }

        if ((op->Extra & 4) != 0)
        {
            var update = new LockedUpdate<TSize>(op, v, address);
            while (!update.TryCommit(Apply(op->Extra, update.Old, 1UL << bit)))
            {
            }

            update.Finish();
            SetCarry(s, (update.Old >> bit) & 1);
            return;
        }

        v.Cpu.Linear.ProbeWrite(address, TSize.Bytes, op->Segment8 == Segment.Ss);
        ulong value = Operand.ReadLinear<TSize>(s, op, v, address);
        Operand.WriteLinear<TSize>(s, op, v, address, Apply(op->Extra, value, 1UL << bit));
        SetCarry(s, (value >> bit) & 1);
    }

    private static DecodedOp* MemoryByImmediate<TSize>(CpuState* s, DecodedOp* op, Interpreter v)
        where TSize : struct, IOperandSize
    {
        ulong address = Operand.Linear(s, op, v, TSize.Bytes, write: (op->Extra & 3) != 0);
        OnMemory<TSize>(s, op, v, address, (int)op->Immediate);
        return op + 1;
    }

    // The register is a signed bit offset from the operand's address, over all of memory.
    private static DecodedOp* MemoryByRegister<TSize>(CpuState* s, DecodedOp* op, Interpreter v)
        where TSize : struct, IOperandSize
    {
        long index = (long)TSize.Extend(TSize.Load(Operand.Register(s, op->Source)));
        DecodedOp shifted = *op;
        shifted.Displacement += (ulong)((index >> BitOperations.Log2((uint)TSize.Bits)) * TSize.Bytes);
        ulong address = Operand.Linear(s, &shifted, v, TSize.Bytes, write: (op->Extra & 3) != 0);
        OnMemory<TSize>(s, op, v, address, (int)index & (TSize.Bits - 1));
        return op + 1;
    }

    private static ulong ScanSource<TSize>(CpuState* s, DecodedOp* op, Interpreter v)
        where TSize : struct, IOperandSize =>
        (op->Extra & 2) != 0 ? Operand.Read<TSize>(s, op, v) : TSize.Load(Operand.Register(s, op->Source));

    // A source of zero leaves the destination alone, as processors do. The other flags are undefined by the manual; AMD's
    // processors set PF by the index and clear the rest.
    private static DecodedOp* ScanForward<TSize>(CpuState* s, DecodedOp* op, Interpreter v)
        where TSize : struct, IOperandSize
    {
        ulong source = ScanSource<TSize>(s, op, v);
        ulong index = source == 0 ? 0 : (ulong)BitOperations.TrailingZeroCount(source);
        if (source != 0)
            TSize.StoreRegister(Operand.Register(s, op->Destination), index);
        SetScanFlags(s, source == 0, index);
        return op + 1;
    }

    private static DecodedOp* ScanReverse<TSize>(CpuState* s, DecodedOp* op, Interpreter v)
        where TSize : struct, IOperandSize
    {
        ulong source = ScanSource<TSize>(s, op, v);
        ulong index = source == 0 ? 0 : (ulong)BitOperations.Log2(source);
        if (source != 0)
            TSize.StoreRegister(Operand.Register(s, op->Destination), index);
        SetScanFlags(s, source == 0, index);
        return op + 1;
    }

    private static DecodedOp* XaddRegister<TSize>(CpuState* s, DecodedOp* op, Interpreter v)
        where TSize : struct, IOperandSize
    {
        byte* destination = Operand.Register(s, op->Destination);
        byte* source = Operand.Register(s, op->Source);
        ulong old = TSize.Load(destination);
        ulong sum = AddOperation.Compute<TSize>(s, old, TSize.Load(source));
        TSize.StoreRegister(source, old);
        TSize.StoreRegister(destination, sum);
        return op + 1;
    }

    private static DecodedOp* XaddMemory<TSize>(CpuState* s, DecodedOp* op, Interpreter v)
        where TSize : struct, IOperandSize
    {
        byte* source = Operand.Register(s, op->Source);
        var update = new LockedUpdate<TSize>(s, op, v);
        while (!update.TryCommit(AddOperation.Compute<TSize>(s, update.Old, TSize.Load(source))))
        {
        }

        update.Finish();
        TSize.StoreRegister(source, update.Old);
        return op + 1;
    }

    // On a mismatch only the accumulator is written: a 32-bit destination register keeps its upper half (observed).
    private static DecodedOp* CmpxchgRegister<TSize>(CpuState* s, DecodedOp* op, Interpreter v)
        where TSize : struct, IOperandSize
    {
        byte* destination = Operand.Register(s, op->Destination);
        ulong old = TSize.Load(destination);
        ulong accumulator = TSize.Load(s->Gpr);
        _ = SubOperation.Compute<TSize>(s, accumulator, old);
        if (accumulator == old)
            TSize.StoreRegister(destination, TSize.Load(Operand.Register(s, op->Source)));
        else
            TSize.StoreRegister(s->Gpr, old);
        return op + 1;
    }

    private static DecodedOp* CmpxchgMemory<TSize>(CpuState* s, DecodedOp* op, Interpreter v)
        where TSize : struct, IOperandSize
    {
        ulong accumulator = TSize.Load(s->Gpr);
        ulong replacement = TSize.Load(Operand.Register(s, op->Source));
        var update = new LockedUpdate<TSize>(s, op, v);
        // The write cycle always happens: on a mismatch the old value is written back.
        while (!update.TryCommit(update.Old == accumulator ? replacement : update.Old))
        {
        }

        update.Finish();
        _ = SubOperation.Compute<TSize>(s, accumulator, update.Old);
        if (update.Old != accumulator)
            TSize.StoreRegister(s->Gpr, update.Old);
        return op + 1;
    }
}
