using System.Runtime.CompilerServices;
using Doppel.Machine.Cpu.Mmu;
using Iced.Intel;

namespace Doppel.Machine.Cpu.HostInstructions;

/// <content>Memory operands: plain, masked and gathered.</content>
public sealed unsafe partial class HostInstructionExecutor
{
    /// <summary>
    /// The operand where a stub can read it: in guest RAM itself when it lies in one page of it, else in a copy.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private byte* ReadOperand(PreparedHostInstruction p, ulong address)
    {
        TlbEntry* entry = TlbEntry.Of(_state->Tlb, address);
        if (entry->ReadTag + address + (ulong)p.MemorySize - 1 < 4096 && (address & p.AlignmentMask) == 0)
            return (byte*)(address + entry->Addend);
        return ReadOperandSlow(p, address);
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    private byte* ReadOperandSlow(PreparedHostInstruction p, ulong address)
    {
        CheckAlignment(p, address);
        switch (p.MemorySize)
        {
            case 1 or 2 or 4 or 8:
                *(ulong*)_buffer = _cpu.Linear.ReadSlow(address, p.MemorySize, p.IsStack);
                break;
            default:
                CheckAlignmentCheck(address, p.MemorySize);
                _cpu.Linear.ReadBlock(address, new Span<byte>(_buffer, p.MemorySize), p.IsStack);
                break;
        }

        return _buffer;
    }

    private byte* TryWritePointer(ulong address, int size)
    {
        TlbEntry* entry = TlbEntry.Of(_state->Tlb, address);
        return entry->WriteTag + address + (ulong)size - 1 < 4096 ? (byte*)(address + entry->Addend) : null;
    }

    private void WriteBuffer(ulong address, int size, bool isStack)
    {
        if (size is 1 or 2 or 4 or 8)
        {
            _cpu.Linear.WriteSlow(address, size, *(ulong*)_buffer, isStack);
            return;
        }

        CheckAlignmentCheck(address, size);
        _cpu.Linear.WriteBlock(address, new ReadOnlySpan<byte>(_buffer, size), isStack);
    }

    // Translates without an access, which a device could notice.
    private void CheckReadable(ulong address, bool isStack)
    {
        if (!_state->IsLongMode)
            address = (uint)address;
        else if (!LinearMemory.IsCanonical(address))
            throw _cpu.Fault(isStack ? ExceptionVector.StackFault : ExceptionVector.GeneralProtection);
        _ = _cpu.Tlb.Translate(address, AccessKind.Read);
    }

    private void CheckAlignment(PreparedHostInstruction p, ulong address)
    {
        if ((address & p.AlignmentMask) != 0)
            throw _cpu.GeneralProtection();
    }

    // #AC for what is not a power of two or wider than 8 bytes (Intel SDM vol. 3, table 6-7).
    private void CheckAlignmentCheck(ulong address, int size)
    {
        CpuState* s = _state;
        if (s->Cpl != 3 || (s->FlagSystem & CpuFlags.Ac) == 0 || (s->Cr0 & Cr0.Am) == 0)
            return;
        uint mask = size switch
        {
            10 => 7u,
            14 or 94 => 1u,
            28 or 108 => 3u,
            _ => (uint)size - 1,
        };
        if ((address & mask) != 0)
            throw _cpu.Fault(ExceptionVector.AlignmentCheck);
    }

    private void StoreMaskedBytes(PreparedHostInstruction p, ulong address)
    {
        byte* data;
        byte* mask;
        if (p.IsMmx)
        {
            CheckPendingException();
            data = MmxRegister(p.Register1);
            mask = MmxRegister(p.Register2);
        }
        else
        {
            data = _xmm + (16 * p.Register1);
            mask = _xmm + (16 * p.Register2);
        }

        ulong probed = ulong.MaxValue;
        for (int i = 0; i < p.VectorSize; i++)
        {
            ulong target = address + (uint)i;
            if ((mask[i] & 0x80) == 0 || target >> 12 == probed)
                continue;
            _cpu.Linear.ProbeWrite(target, 1, p.IsStack);
            probed = target >> 12;
        }

        for (int i = 0; i < p.VectorSize; i++)
        {
            if ((mask[i] & 0x80) != 0)
                _cpu.Linear.Write(address + (uint)i, data[i], p.IsStack);
        }

        if (p.IsMmx)
            EnterMmx();
    }

    private void LoadMasked(PreparedHostInstruction p, ulong address)
    {
        int size = p.ElementSize;
        Unsafe.InitBlock(_buffer, 0, 32);
        for (int i = 0; i < p.VectorSize; i += size)
        {
            if (!IsSelected(p.Register1, i, size))
                continue;
            if (size == 4)
                *(uint*)(_buffer + i) = _cpu.Linear.Read<uint>(address + (uint)i, p.IsStack);
            else
                *(ulong*)(_buffer + i) = _cpu.Linear.Read<ulong>(address + (uint)i, p.IsStack);
        }

        Unsafe.CopyBlock(_xmm + (16 * p.Register0), _buffer, 16);
        Unsafe.CopyBlock(_ymm + (16 * p.Register0), _buffer + 16, 16);
    }

    private void StoreMasked(PreparedHostInstruction p, ulong address)
    {
        int size = p.ElementSize;
        for (int i = 0; i < p.VectorSize; i += size)
        {
            if (IsSelected(p.Register1, i, size))
                _cpu.Linear.ProbeWrite(address + (uint)i, size, p.IsStack);
        }

        for (int i = 0; i < p.VectorSize; i += size)
        {
            if (!IsSelected(p.Register1, i, size))
                continue;
            byte* element = VectorByte(p.Register2, i);
            if (size == 4)
                _cpu.Linear.Write(address + (uint)i, *(uint*)element, p.IsStack);
            else
                _cpu.Linear.Write(address + (uint)i, *(ulong*)element, p.IsStack);
        }
    }

    // Elements go in order; a fault leaves those before it done and their mask bits cleared, so that the instruction can be
    // restarted (Intel SDM vol. 2, VGATHERDPS).
    private void Gather(PreparedHostInstruction p)
    {
        Instruction instruction = p.Instruction;
        int size = p.ElementSize;
        bool hasWideIndex = instruction.Mnemonic is Mnemonic.Vgatherqps or Mnemonic.Vgatherqpd or Mnemonic.Vpgatherqd or Mnemonic.Vpgatherqq;
        bool is256 = instruction.Op0Register.IsYMM() || instruction.MemoryIndex.IsYMM();
        int count = (is256 ? 32 : 16) / Math.Max(size, hasWideIndex ? 8 : 4);
        int index = instruction.MemoryIndex.GetNumber();
        for (int i = 0; i < count; i++)
        {
            if (IsSelected(p.Register2, i * size, size))
            {
                long offset = hasWideIndex ? *(long*)VectorByte(index, i * 8) : *(int*)VectorByte(index, i * 4);
                ulong address = ElementAddress(p, instruction, offset);
                if (size == 4)
                    *(uint*)VectorByte(p.Register0, i * 4) = _cpu.Linear.Read<uint>(address, p.IsStack);
                else
                    *(ulong*)VectorByte(p.Register0, i * 8) = _cpu.Linear.Read<ulong>(address, p.IsStack);
            }

            if (size == 4)
                *(uint*)VectorByte(p.Register2, i * 4) = 0;
            else
                *(ulong*)VectorByte(p.Register2, i * 8) = 0;
        }

        for (int i = count * size; i < 32; i += 4)
            *(uint*)VectorByte(p.Register0, i) = 0;
        for (int i = count * size; i < 32; i += 4)
            *(uint*)VectorByte(p.Register2, i) = 0;
    }

    private ulong ElementAddress(PreparedHostInstruction p, in Instruction instruction, long index)
    {
        CpuState* s = _state;
        Register @base = instruction.MemoryBase;
        ulong address = ((ulong)index * (ulong)instruction.MemoryIndexScale) + instruction.MemoryDisplacement64;
        if (@base != Register.None)
            address += s->Gpr[@base.GetFullRegister() - Register.RAX];
        bool is32 = instruction.CodeSize != CodeSize.Code64 || @base.IsGPR32() || (@base == Register.None && instruction.MemoryDisplSize == 4);
        if (is32)
            address = (uint)address;
        SegmentRegister* segment = s->SegmentAt((Segment)(instruction.MemorySegment - Register.ES));
        if (s->Is64Bit)
            return instruction.MemorySegment is Register.FS or Register.GS ? address + segment->Base : address;
        bool isExpandDown = (segment->Attributes & (SegmentAttributes.Code | SegmentAttributes.ExpandDownOrConforming)) == SegmentAttributes.ExpandDownOrConforming;
        ulong last = address + (uint)p.ElementSize - 1;
        bool isInside = isExpandDown
            ? address > segment->Limit && last <= (segment->Has(SegmentAttributes.Big) ? 0xFFFFFFFF : 0xFFFFu)
            : last <= segment->Limit;
        if (!isInside || !segment->IsUsable)
            throw _cpu.Fault(p.IsStack ? ExceptionVector.StackFault : ExceptionVector.GeneralProtection);
        return (uint)(address + segment->Base);
    }

    private bool IsSelected(int maskRegister, int offset, int size) => (VectorByte(maskRegister, offset)[size - 1] & 0x80) != 0;

    private byte* VectorByte(int register, int offset) =>
        offset < 16 ? _xmm + (16 * register) + offset : _ymm + (16 * register) + offset - 16;
}
