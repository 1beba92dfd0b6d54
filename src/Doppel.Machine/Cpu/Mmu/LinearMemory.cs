using System.Runtime.CompilerServices;

namespace Doppel.Machine.Cpu.Mmu;

/// <summary>
/// Access by linear address, as the current privilege or as the processor itself (descriptor tables, TSS). Throws #PF,
/// #GP for a non-canonical address (#SS where the caller says that it is a stack reference) and #AC. An access across a
/// page end is checked on both pages before anything is written. Belongs to the vCPU's thread.
/// </summary>
public sealed unsafe class LinearMemory
{
    private readonly VirtualCpu _cpu;

    internal LinearMemory(VirtualCpu cpu) => _cpu = cpu;

    /// <summary>Reads a value of 1, 2, 4 or 8 bytes at the current privilege.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public T Read<T>(ulong address, bool isStack = false)
        where T : unmanaged
    {
        TlbEntry* entry = TlbEntry.Of(_cpu.State->Tlb, address);
        if (entry->ReadTag + address + (ulong)(sizeof(T) - 1) < 4096)
            return Unsafe.ReadUnaligned<T>((void*)(address + entry->Addend));
        ulong value = ReadSlow(address, sizeof(T), isStack);
        return Unsafe.As<ulong, T>(ref value);
    }

    /// <summary>Writes a value of 1, 2, 4 or 8 bytes at the current privilege.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Write<T>(ulong address, T value, bool isStack = false)
        where T : unmanaged
    {
        TlbEntry* entry = TlbEntry.Of(_cpu.State->Tlb, address);
        if (entry->WriteTag + address + (ulong)(sizeof(T) - 1) < 4096)
        {
            Unsafe.WriteUnaligned((void*)(address + entry->Addend), value);
            return;
        }

        ulong wide = 0;
        Unsafe.As<ulong, T>(ref wide) = value;
        WriteSlow(address, sizeof(T), wide, isStack);
    }

    /// <summary>Reads 1, 2, 4 or 8 bytes as the processor itself does for descriptor tables and task state.</summary>
    public ulong ReadSystem(ulong address, int size)
    {
        CheckCanonical(address, size, isStack: false);
        address = Wrap(address);
        if ((address & 0xFFF) + (uint)size <= 4096)
            return _cpu.Physical.Read(_cpu.Tlb.TranslateSystem(address, AccessKind.Read), size);
        ulong value = 0;
        for (int i = 0; i < size; i++)
            value |= _cpu.Physical.Read(_cpu.Tlb.TranslateSystem(Wrap(address + (uint)i), AccessKind.Read), 1) << (8 * i);
        return value;
    }

    /// <summary>Writes 1, 2, 4 or 8 bytes as the processor itself does for descriptor tables and task state.</summary>
    public void WriteSystem(ulong address, int size, ulong value)
    {
        CheckCanonical(address, size, isStack: false);
        address = Wrap(address);
        if ((address & 0xFFF) + (uint)size <= 4096)
        {
            _cpu.Physical.Write(_cpu.Tlb.TranslateSystem(address, AccessKind.Write), size, value);
            return;
        }

        _ = _cpu.Tlb.TranslateSystem(SecondPage(address), AccessKind.Write);
        for (int i = 0; i < size; i++)
            _cpu.Physical.Write(_cpu.Tlb.TranslateSystem(Wrap(address + (uint)i), AccessKind.Write), 1, (byte)(value >> (8 * i)));
    }

    /// <summary>Throws what a write of this size would throw, and sets the dirty bits, without writing.</summary>
    public void ProbeWrite(ulong address, int size, bool isStack = false)
    {
        CheckAccess(address, size, isStack);
        address = Wrap(address);
        _cpu.NoteWatchedAccess(address, size, isWrite: true);
        _ = _cpu.Tlb.Translate(address, AccessKind.Write);
        if ((address & 0xFFF) + (uint)size > 4096)
            _ = _cpu.Tlb.Translate(SecondPage(address), AccessKind.Write);
    }

    /// <summary>Reads a block of any length at the current privilege; all pages are checked before anything is returned.</summary>
    public void ReadBlock(ulong address, Span<byte> destination, bool isStack = false)
    {
        CheckCanonical(address, destination.Length, isStack);
        _cpu.NoteDataAccess(Wrap(address), destination.Length, isWrite: false);
        int done = 0;
        while (done < destination.Length)
        {
            ulong linear = Wrap(address + (uint)done);
            int chunk = Math.Min(destination.Length - done, 4096 - (int)(linear & 0xFFF));
            ulong physical = _cpu.Tlb.Translate(linear, AccessKind.Read);
            if (_cpu.Physical.IsLocal(physical) || !_cpu.Physical.Memory.TryRead(physical, destination.Slice(done, chunk)))
            {
                for (int i = 0; i < chunk; i++)
                    destination[done + i] = (byte)_cpu.Physical.Read(physical + (uint)i, 1);
            }

            done += chunk;
        }
    }

    /// <summary>Writes a block of any length at the current privilege; nothing is written if any page refuses.</summary>
    public void WriteBlock(ulong address, ReadOnlySpan<byte> source, bool isStack = false)
    {
        CheckCanonical(address, source.Length, isStack);
        _cpu.NoteDataAccess(Wrap(address), source.Length, isWrite: true);
        for (int done = 0; done < source.Length;)
        {
            ulong linear = Wrap(address + (uint)done);
            _ = _cpu.Tlb.Translate(linear, AccessKind.Write);
            done += 4096 - (int)(linear & 0xFFF);
        }

        for (int done = 0; done < source.Length;)
        {
            ulong linear = Wrap(address + (uint)done);
            int chunk = Math.Min(source.Length - done, 4096 - (int)(linear & 0xFFF));
            ulong physical = _cpu.Tlb.Translate(linear, AccessKind.Write);
            if (_cpu.Physical.IsLocal(physical) || !_cpu.Physical.Memory.TryWrite(physical, source.Slice(done, chunk)))
            {
                for (int i = 0; i < chunk; i++)
                    _cpu.Physical.Write(physical + (uint)i, 1, source[done + i]);
            }

            done += chunk;
        }
    }

    /// <summary>
    /// The host address of a locked read-modify-write operand, or null when it is not plain RAM inside one page; faults
    /// as a write does. The page is already marked dirty; the caller reports the write with GuestMemory.NoteWrite when
    /// <paramref name="physical"/> is on a watched page.
    /// </summary>
    public byte* HostPointerForUpdate(ulong address, int size, out ulong physical, bool isStack = false)
    {
        CheckAccess(address, size, isStack);
        address = Wrap(address);
        _cpu.NoteDataAccess(address, size, isWrite: true);
        physical = _cpu.Tlb.Translate(address, AccessKind.Write);
        if ((address & 0xFFF) + (uint)size > 4096)
        {
            _ = _cpu.Tlb.Translate(SecondPage(address), AccessKind.Write);
            return null;
        }

        return (_cpu.Physical.FlagsOf(physical) & Memory.PageFlags.Ram) != 0 ? _cpu.Physical.Memory.Base + physical : null;
    }

    /// <summary>True for a canonical 48-bit address.</summary>
    public static bool IsCanonical(ulong address) => (ulong)((long)(address << 16) >> 16) == address;

    /// <summary>Read that missed the fast path.</summary>
    [MethodImpl(MethodImplOptions.NoInlining)]
    public ulong ReadSlow(ulong address, int size, bool isStack)
    {
        CheckAccess(address, size, isStack);
        address = Wrap(address);
        _cpu.NoteDataAccess(address, size, isWrite: false);
        if ((address & 0xFFF) + (uint)size <= 4096)
            return _cpu.Physical.Read(_cpu.Tlb.Translate(address, AccessKind.Read), size);
        ulong value = 0;
        int first = 4096 - (int)(address & 0xFFF);
        ulong low = _cpu.Tlb.Translate(address, AccessKind.Read);
        ulong high = _cpu.Tlb.Translate(Wrap(address + (uint)first), AccessKind.Read);
        for (int i = 0; i < size; i++)
            value |= (_cpu.Physical.Read(i < first ? low + (uint)i : high + (uint)(i - first), 1) & 0xFF) << (8 * i);
        return value;
    }

    /// <summary>Write that missed the fast path.</summary>
    [MethodImpl(MethodImplOptions.NoInlining)]
    public void WriteSlow(ulong address, int size, ulong value, bool isStack)
    {
        CheckAccess(address, size, isStack);
        address = Wrap(address);
        _cpu.NoteDataAccess(address, size, isWrite: true);
        if ((address & 0xFFF) + (uint)size <= 4096)
        {
            _cpu.Physical.Write(_cpu.Tlb.Translate(address, AccessKind.Write), size, value);
            _cpu.Tlb.FlushAfterAccess();
            return;
        }

        int first = 4096 - (int)(address & 0xFFF);
        ulong low = _cpu.Tlb.Translate(address, AccessKind.Write);
        ulong high = _cpu.Tlb.Translate(Wrap(address + (uint)first), AccessKind.Write);
        for (int i = 0; i < size; i++)
            _cpu.Physical.Write(i < first ? low + (uint)i : high + (uint)(i - first), 1, (byte)(value >> (8 * i)));
        _cpu.Tlb.FlushAfterAccess();
    }

    // Outside 64-bit mode linear addresses are 32 bits wide and wrap.
    private ulong Wrap(ulong address) => _cpu.State->IsLongMode ? address : address & 0xFFFFFFFF;

    // A fault on the second page of an access reports that page's first byte in CR2.
    private ulong SecondPage(ulong address) => Wrap((address | 0xFFF) + 1);

    private void CheckAccess(ulong address, int size, bool isStack)
    {
        CheckCanonical(address, size, isStack);
        CpuState* s = _cpu.State;
        if (s->Cpl == 3 && (address & (uint)(size - 1)) != 0 && (s->FlagSystem & CpuFlags.Ac) != 0 && (s->Cr0 & Cr0.Am) != 0)
            throw _cpu.Fault(ExceptionVector.AlignmentCheck);
    }

    private void CheckCanonical(ulong address, int size, bool isStack)
    {
        if (!_cpu.State->IsLongMode)
            return;
        if (!IsCanonical(address) || !IsCanonical(address + (ulong)Math.Max(size, 1) - 1))
            throw _cpu.Fault(isStack ? ExceptionVector.StackFault : ExceptionVector.GeneralProtection);
    }
}
