using System.Runtime.CompilerServices;
using Doppel.Machine.Cpu.Mmu;
using Doppel.Machine.Cpu.Segments;

namespace Doppel.Machine.Cpu.Interpreter;

/// <summary>How handlers reach their operands.</summary>
internal static unsafe class Operand
{
    /// <summary>The register at a byte offset of the state.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static byte* Register(CpuState* s, ushort offset) => (byte*)s + offset;

    /// <summary>The effective address, before truncation and segmentation.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static ulong EffectiveAddress(CpuState* s, DecodedOp* op) =>
        *(ulong*)((byte*)s + op->Base) + (*(ulong*)((byte*)s + op->Index) << op->Scale) + op->Displacement;

    /// <summary>The linear address of the memory operand; segment checks outside 64-bit mode.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static ulong Linear(CpuState* s, DecodedOp* op, Interpreter v, int size, bool write)
    {
        ulong address = EffectiveAddress(s, op);
        return op->Kind == AddressKind.Flat
            ? address + *(ulong*)((byte*)s + op->SegmentBase)
            : LinearSlow(s, op, v, address, size, write);
    }

    /// <summary>Reads the memory operand.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static ulong Read<TSize>(CpuState* s, DecodedOp* op, Interpreter v)
        where TSize : struct, IOperandSize
    {
        ulong address = Linear(s, op, v, TSize.Bytes, write: false);
        return ReadLinear<TSize>(s, op, v, address);
    }

    /// <summary>Reads at a linear address that belongs to the memory operand.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static ulong ReadLinear<TSize>(CpuState* s, DecodedOp* op, Interpreter v, ulong address)
        where TSize : struct, IOperandSize
    {
        TlbEntry* entry = TlbEntry.Of(s->Tlb, address);
        if (entry->ReadTag + address + (ulong)(TSize.Bytes - 1) < 4096)
            return TSize.Load((void*)(address + entry->Addend));
        return v.Cpu.Linear.ReadSlow(address, TSize.Bytes, op->Segment8 == Segment.Ss);
    }

    /// <summary>Writes the memory operand.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static void Write<TSize>(CpuState* s, DecodedOp* op, Interpreter v, ulong value)
        where TSize : struct, IOperandSize
    {
        ulong address = Linear(s, op, v, TSize.Bytes, write: true);
        WriteLinear<TSize>(s, op, v, address, value);
    }

    /// <summary>Writes at a linear address that belongs to the memory operand.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static void WriteLinear<TSize>(CpuState* s, DecodedOp* op, Interpreter v, ulong address, ulong value)
        where TSize : struct, IOperandSize
    {
        TlbEntry* entry = TlbEntry.Of(s->Tlb, address);
        if (entry->WriteTag + address + (ulong)(TSize.Bytes - 1) < 4096)
            TSize.Store((void*)(address + entry->Addend), value);
        else
            v.Cpu.Linear.WriteSlow(address, TSize.Bytes, value, op->Segment8 == Segment.Ss);
    }

    /// <summary>
    /// The host address of a memory operand that is read and then written, or null when it takes the slow path. The right
    /// to write is checked before the read, as hardware does for read-modify-write instructions.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static byte* UpdatePointer<TSize>(CpuState* s, ulong address)
        where TSize : struct, IOperandSize
    {
        TlbEntry* entry = TlbEntry.Of(s->Tlb, address);
        return entry->WriteTag + address + (ulong)(TSize.Bytes - 1) < 4096 ? (byte*)(address + entry->Addend) : null;
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    private static ulong LinearSlow(CpuState* s, DecodedOp* op, Interpreter v, ulong address, int size, bool write)
    {
        switch (op->Kind)
        {
            case AddressKind.Flat32:
                return (uint)address + *(ulong*)((byte*)s + op->SegmentBase);
            case AddressKind.Segmented16:
                address = (ushort)address;
                break;
            default:
                address = (uint)address;
                break;
        }

        return SegmentLinear(s, v, op->Segment8, address, size, write);
    }

    /// <summary>The linear address of an offset in a segment, with every check that the mode asks for.</summary>
    internal static ulong SegmentLinear(CpuState* s, Interpreter v, Segment index, ulong offset, int size, bool write)
    {
        SegmentRegister* segment = s->SegmentAt(index);
        if (IsWritableUpwards(s, segment) && offset + (uint)(size - 1) <= segment->Limit)
            return (uint)(segment->Base + offset);
        return SegmentChecks.Linear(v.Cpu, index, offset, size, write);
    }

    /// <summary>True outside 64-bit mode for a segment of data that reaches from 0 to its limit and may be written.</summary>
    internal static bool IsWritableUpwards(CpuState* s, SegmentRegister* segment)
    {
        const SegmentAttributes Wanted = SegmentAttributes.Present | SegmentAttributes.CodeOrData | SegmentAttributes.WritableOrReadable;
        const SegmentAttributes Tested = Wanted | SegmentAttributes.Code | SegmentAttributes.ExpandDownOrConforming | SegmentAttributes.Unusable;
        return (segment->Attributes & Tested) == Wanted && !s->Is64Bit;
    }
}
