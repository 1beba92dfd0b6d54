using System.Runtime.InteropServices;
using Doppel.Machine.Cpu.Mmu;

namespace Doppel.Machine.Cpu.Interpreter;

/// <summary>
/// Instructions that are executed alone: across a page end, from memory that is not RAM, or while stepping. Their bytes
/// are fetched each time and compared with those of the last decoding, so nothing has to be invalidated.
/// </summary>
internal sealed unsafe class SingleStepCache : IDisposable
{
    private const int Size = 256;
    private readonly VirtualCpu _cpu;
    private readonly BlockDecoder _decoder;
    private readonly Entry* _entries = (Entry*)NativeMemory.AllocZeroed(Size, (nuint)sizeof(Entry));

    internal SingleStepCache(VirtualCpu cpu, BlockDecoder decoder)
    {
        _cpu = cpu;
        _decoder = decoder;
    }

    /// <summary>True for an operation that this cache handed out.</summary>
    internal bool Owns(DecodedOp* op) => (Entry*)op >= _entries && (Entry*)op < _entries + Size;

    /// <summary>The instruction at a linear address. Throws #PF and the like when its bytes cannot be fetched.</summary>
    internal DecodedOp* Fetch(ulong linear, CodeMode mode)
    {
        byte* bytes = stackalloc byte[16];
        int available = Math.Min(15, 4096 - (int)(linear & 0xFFF));
        Copy(_cpu.Tlb.Translate(linear, AccessKind.Execute), bytes, available);
        Entry* entry = _entries + (int)((linear ^ (linear >> 8)) & (Size - 1));
        bool known = entry->Length != 0 && entry->Linear == linear && entry->Mode == mode;
        if (known && entry->Length <= available && Same(entry, bytes, entry->Length))
            return &entry->Op;
        if (!known || entry->Length <= available)
        {
            if (_decoder.DecodeOne(bytes, available, (int)(linear & 0xFFF), mode, &entry->Op))
                return Keep(entry, linear, mode, bytes);
        }

        ulong second = linear + (uint)available;
        if (mode != CodeMode.Code64)
            second = (uint)second;
        Copy(_cpu.Tlb.Translate(second, AccessKind.Execute), bytes + available, 15 - available);
        if (known && Same(entry, bytes, entry->Length))
            return &entry->Op;
        _ = _decoder.DecodeOne(bytes, 15, (int)(linear & 0xFFF), mode, &entry->Op);
        return Keep(entry, linear, mode, bytes);
    }

    /// <summary>Forgets everything.</summary>
    internal void Clear() => NativeMemory.Clear(_entries, (nuint)(Size * sizeof(Entry)));

    public void Dispose() => NativeMemory.Free(_entries);

    private static DecodedOp* Keep(Entry* entry, ulong linear, CodeMode mode, byte* bytes)
    {
        entry->Linear = linear;
        entry->Mode = mode;
        entry->Length = entry->Op.Length;
        new ReadOnlySpan<byte>(bytes, 15).CopyTo(new Span<byte>(entry->Bytes, 15));
        return &entry->Op;
    }

    private static bool Same(Entry* entry, byte* bytes, int length) =>
        new ReadOnlySpan<byte>(bytes, length).SequenceEqual(new ReadOnlySpan<byte>(entry->Bytes, length));

    private void Copy(ulong physical, byte* destination, int count)
    {
        if (!_cpu.Physical.IsLocal(physical) && _cpu.Physical.Memory.TryRead(physical, new Span<byte>(destination, count)))
            return;
        for (int i = 0; i < count; i++)
            destination[i] = (byte)_cpu.Physical.Read(physical + (uint)i, 1);
    }

    [StructLayout(LayoutKind.Sequential)]
    private struct Entry
    {
        internal DecodedOp Op;
        internal DecodedOp AfterOp;
        internal ulong Linear;
        internal CodeMode Mode;
        internal int Length;
        internal fixed byte Bytes[16];
    }
}
