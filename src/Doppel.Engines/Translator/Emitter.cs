using System.Runtime.CompilerServices;

namespace Doppel.Engines.Translator;

/// <summary>
/// Writes machine code through a pointer: 2 to 3 ns an instruction. Knows the instructions that the translator makes up
/// itself; guest instructions are copied by <see cref="RawInstruction"/>. Nothing here changes flags but where named.
/// </summary>
internal unsafe struct Emitter
{
    /// <summary>
    /// Points at the vCPU's state while emitted code runs. Processors since Zen 2 and Golden Cove forward a store to a load
    /// at RSP and a constant by renaming: a counter in the state costs 0.25 ns at RSP, 1.6 ns (as long as a load of the
    /// level 1 cache and a store) at the GS base, where it was first.
    /// </summary>
    internal const HostRegister State = HostRegister.Rsp;

    private byte* _next;
    private readonly byte* _end;

    internal Emitter(byte* start, byte* end)
    {
        _next = start;
        _end = end;
    }

    /// <summary>Where the next byte goes.</summary>
    internal readonly byte* Position => _next;

    /// <summary>Bytes left.</summary>
    internal readonly long Room => _end - _next;

    internal void Byte(int value) => *_next++ = (byte)value;

    internal void Word32(int value)
    {
        Unsafe.WriteUnaligned(_next, value);
        _next += 4;
    }

    internal void Word64(ulong value)
    {
        Unsafe.WriteUnaligned(_next, value);
        _next += 8;
    }

    internal void Bytes(byte* source, int count)
    {
        Unsafe.CopyBlockUnaligned(_next, source, (uint)count);
        _next += count;
    }

    /// <summary>MOV r64, r64.</summary>
    internal void Move(HostRegister to, HostRegister from)
    {
        if (to != from)
            RegisterForm(0x8B, to, from, wide: true);
    }

    /// <summary>MOV r32, r32 (clears the upper half).</summary>
    internal void Move32(HostRegister to, HostRegister from) => RegisterForm(0x8B, to, from, wide: false);

    /// <summary>MOV r32, imm32, zero-extended.</summary>
    internal void MoveImmediate32(HostRegister to, uint value)
    {
        if ((int)to >= 8)
            Byte(0x41);
        Byte(0xB8 + ((int)to & 7));
        Word32((int)value);
    }

    /// <summary>The shortest MOV of a constant.</summary>
    internal void MoveImmediate(HostRegister to, ulong value)
    {
        if (value <= uint.MaxValue)
        {
            MoveImmediate32(to, (uint)value);
            return;
        }

        Byte(0x48 | ((int)to >> 3));
        if ((long)value == (int)value)
        {
            Byte(0xC7);
            Byte(0xC0 | ((int)to & 7));
            Word32((int)value);
            return;
        }

        Byte(0xB8 + ((int)to & 7));
        Word64(value);
    }

    /// <summary>MOV r64, [state + slot].</summary>
    internal void LoadSlot(HostRegister to, int slot) => SlotForm(0x8B, to, slot, wide: true);

    /// <summary>MOV r32, [state + slot].</summary>
    internal void LoadSlot32(HostRegister to, int slot) => SlotForm(0x8B, to, slot, wide: false);

    /// <summary>MOV [state + slot], r64.</summary>
    internal void StoreSlot(int slot, HostRegister from) => SlotForm(0x89, from, slot, wide: true);

    /// <summary>MOV qword [state + slot], imm32 sign-extended.</summary>
    internal void StoreSlotImmediate(int slot, int value)
    {
        Byte(0x48);
        Byte(0xC7);
        ModRmSlot(0, slot);
        Word32(value);
    }

    /// <summary>MOV r64, [base + displacement].</summary>
    internal void Load(HostRegister to, HostRegister @base, int displacement) => MemoryForm(0x8B, to, @base, displacement, wide: true);

    /// <summary>MOV r32, [base + displacement].</summary>
    internal void Load32(HostRegister to, HostRegister @base, int displacement) => MemoryForm(0x8B, to, @base, displacement, wide: false);

    /// <summary>MOV [base + displacement], r64.</summary>
    internal void Store(HostRegister @base, int displacement, HostRegister from) => MemoryForm(0x89, from, @base, displacement, wide: true);

    /// <summary>LEA r64, [base + displacement].</summary>
    internal void Lea(HostRegister to, HostRegister @base, int displacement)
    {
        if (displacement == 0)
            Move(to, @base);
        else
            MemoryForm(0x8D, to, @base, displacement, wide: true);
    }

    /// <summary>LEA r32, [base + displacement]: what a 32-bit sum is, with a clear upper half.</summary>
    internal void Lea32(HostRegister to, HostRegister @base, int displacement)
    {
        if (displacement == 0)
            Move32(to, @base);
        else
            MemoryForm(0x8D, to, @base, displacement, wide: false);
    }

    /// <summary>LEA r16, [base + displacement]: the upper bits stay.</summary>
    internal void Lea16(HostRegister to, HostRegister @base, int displacement)
    {
        Byte(0x66);
        MemoryForm(0x8D, to, @base, displacement, wide: false);
    }

    /// <summary>MOVZX r32, r16.</summary>
    internal void ZeroExtend16(HostRegister to, HostRegister from)
    {
        int rex = 0x40 | (((int)to >> 3) << 2) | ((int)from >> 3);
        if (rex != 0x40)
            Byte(rex);
        Byte(0x0F);
        Byte(0xB7);
        Byte(0xC0 | (((int)to & 7) << 3) | ((int)from & 7));
    }

    /// <summary>MOV r16, r16: the upper bits stay.</summary>
    internal void Move16(HostRegister to, HostRegister from)
    {
        Byte(0x66);
        RegisterForm(0x8B, to, from, wide: false);
    }

    /// <summary>LEA r64, [base + displacement] of one length, whatever the displacement; not for RSP and R12.</summary>
    internal void LeaLong(HostRegister to, HostRegister @base, int displacement)
    {
        Byte(0x48 | (((int)to >> 3) << 2) | ((int)@base >> 3));
        Byte(0x8D);
        Byte(0x80 | (((int)to & 7) << 3) | ((int)@base & 7));
        Word32(displacement);
    }

    /// <summary>RORX r64, source, count.</summary>
    internal void Rorx(HostRegister to, HostRegister source, int count)
    {
        Vex(map: 3, prefix: 3, wide: true, (int)to, index: 0, (int)source, vvvv: 0);
        Byte(0xF0);
        Byte(0xC0 | (((int)to & 7) << 3) | ((int)source & 7));
        Byte(count);
    }

    /// <summary>MOV r64, [state + index * 8 + slot].</summary>
    internal void LoadSlotIndexed(HostRegister to, HostRegister index, int slot) => SlotIndexedForm(0x8B, to, index, slot);

    /// <summary>MOV [state + index * 8 + slot], r64.</summary>
    internal void StoreSlotIndexed(HostRegister index, int slot, HostRegister from) => SlotIndexedForm(0x89, from, index, slot);

    /// <summary>MOVZX r32, byte [state + index + slot].</summary>
    internal void LoadSlotByte(HostRegister to, HostRegister index, int slot)
    {
        int rex = 0x40 | (((int)to >> 3) << 2) | (((int)index >> 3) << 1);
        if (rex != 0x40)
            Byte(rex);
        Byte(0x0F);
        Byte(0xB6);
        Byte(0x84 | (((int)to & 7) << 3));
        Byte((((int)index & 7) << 3) | (int)State);
        Word32(slot - StateLayout.Bias);
    }

    /// <summary>JMP [state + index * 8 + slot].</summary>
    internal void JumpSlotIndexed(HostRegister index, int slot)
    {
        if ((int)index >= 8)
            Byte(0x42);
        Byte(0xFF);
        Byte(0xA4);
        Byte(0xC0 | (((int)index & 7) << 3) | (int)State);
        Word32(slot - StateLayout.Bias);
    }

    /// <summary>SARX, source, count.</summary>
    internal void Sarx(HostRegister to, HostRegister source, HostRegister count, bool wide)
    {
        Vex(map: 2, prefix: 2, wide, (int)to, index: 0, (int)source, (int)count);
        Byte(0xF7);
        Byte(0xC0 | (((int)to & 7) << 3) | ((int)source & 7));
    }

    /// <summary>MOVSXD r64, r32.</summary>
    internal void SignExtend32(HostRegister to, HostRegister from) => RegisterForm(0x63, to, from, wide: true);

    /// <summary>MOVZX r32, word [state + slot].</summary>
    internal void LoadSlot16(HostRegister to, int slot)
    {
        if ((int)to >= 8)
            Byte(0x44);
        Byte(0x0F);
        Byte(0xB7);
        ModRmSlot((int)to, slot);
    }

    /// <summary>PUSHFQ.</summary>
    internal void PushFlags() => Byte(0x9C);

    /// <summary>POPFQ: restores every status flag.</summary>
    internal void PopFlags() => Byte(0x9D);

    /// <summary>NOT r64.</summary>
    internal void Not(HostRegister register)
    {
        Byte(0x48 | ((int)register >> 3));
        Byte(0xF7);
        Byte(0xD0 | ((int)register & 7));
    }

    /// <summary>LEA r64, [base + index * 2^scale + displacement].</summary>
    internal void LeaIndexed(HostRegister to, HostRegister @base, HostRegister index, int scale, int displacement) =>
        IndexedForm(0x8D, to, @base, index, scale, displacement, wide: true);

    /// <summary>LEA r32, [base + index * 2^scale + displacement].</summary>
    internal void LeaIndexed32(HostRegister to, HostRegister @base, HostRegister index, int scale, int displacement) =>
        IndexedForm(0x8D, to, @base, index, scale, displacement, wide: false);

    /// <summary>LEA r64 or r32, [index * 2^scale + displacement].</summary>
    internal void LeaScaled(HostRegister to, HostRegister index, int scale, int displacement, bool wide = true)
    {
        Byte((wide ? 0x48 : 0x40) | (((int)to >> 3) << 2) | (((int)index >> 3) << 1));
        Byte(0x8D);
        Byte((((int)to & 7) << 3) | 4);
        Byte((scale << 6) | (((int)index & 7) << 3) | 5);
        Word32(displacement);
    }

    /// <summary>MOV r64, [base + index * 2^scale + displacement].</summary>
    internal void LoadIndexed(HostRegister to, HostRegister @base, HostRegister index, int scale, int displacement) =>
        IndexedForm(0x8B, to, @base, index, scale, displacement, wide: true);

    /// <summary>MOV r32, [base + index * 2^scale + displacement].</summary>
    internal void LoadIndexed32(HostRegister to, HostRegister @base, HostRegister index, int scale, int displacement) =>
        IndexedForm(0x8B, to, @base, index, scale, displacement, wide: false);

    /// <summary>PEXT r64, source, [state + slot of the mask].</summary>
    internal void Pext(HostRegister to, HostRegister source, int maskSlot)
    {
        Vex(map: 2, prefix: 2, wide: true, (int)to, index: 0, @base: 0, (int)source);
        Byte(0xF5);
        ModRmSlot((int)to, maskSlot);
    }

    /// <summary>PDEP r64, source, [state + slot of the mask].</summary>
    internal void Pdep(HostRegister to, HostRegister source, int maskSlot)
    {
        Vex(map: 2, prefix: 3, wide: true, (int)to, index: 0, @base: 0, (int)source);
        Byte(0xF5);
        ModRmSlot((int)to, maskSlot);
    }

    /// <summary>MULX: the high and low half of RDX times [state + slot].</summary>
    internal void Mulx(HostRegister high, HostRegister low, int slot)
    {
        Vex(map: 2, prefix: 3, wide: true, (int)high, index: 0, @base: 0, (int)low);
        Byte(0xF6);
        ModRmSlot((int)high, slot);
    }

    /// <summary>SHRX r64, source, count.</summary>
    internal void Shrx(HostRegister to, HostRegister source, HostRegister count)
    {
        Vex(map: 2, prefix: 3, wide: true, (int)to, index: 0, (int)source, (int)count);
        Byte(0xF7);
        Byte(0xC0 | (((int)to & 7) << 3) | ((int)source & 7));
    }

    /// <summary>JRCXZ to a place that is patched later; returns the position of its displacement.</summary>
    internal byte* JumpIfRcxZero()
    {
        Byte(0xE3);
        Byte(0);
        return _next - 1;
    }

    /// <summary>JECXZ to a place that is patched later; returns the position of its displacement.</summary>
    internal byte* JumpIfEcxZero()
    {
        Byte(0x67);
        return JumpIfRcxZero();
    }

    /// <summary>JRCXZ back to a place at most 126 bytes away.</summary>
    internal void JumpIfRcxZeroTo(byte* target)
    {
        Byte(0xE3);
        Byte(checked((sbyte)(target - _next - 1)));
    }

    /// <summary>Lets an 8-bit displacement lead here.</summary>
    internal readonly void Bind8(byte* displacement) => *(sbyte*)displacement = checked((sbyte)(_next - displacement - 1));

    /// <summary>
    /// A jump whose displacement may be changed while another processor executes it: it lies in one line of the cache, so
    /// that it is seen whole. Returns the displacement.
    /// </summary>
    internal byte* JumpPatchable()
    {
        const int Line = 64;
        while (((int)(nint)_next & (Line - 1)) is > Line - 1 - sizeof(int) and < Line - 1)
            Byte(0x90);
        return Jump();
    }

    /// <summary>JMP rel32 to a place that is patched later; returns the position of its displacement.</summary>
    internal byte* Jump()
    {
        Byte(0xE9);
        Word32(0);
        return _next - 4;
    }

    /// <summary>JMP rel8 to a place that is patched later; returns the position of its displacement.</summary>
    internal byte* JumpShort()
    {
        Byte(0xEB);
        Byte(0);
        return _next - 1;
    }

    /// <summary>Jcc rel32 to a place that is patched later; returns the position of its displacement.</summary>
    internal byte* JumpIf(int condition)
    {
        Byte(0x0F);
        Byte(0x80 | condition);
        Word32(0);
        return _next - 4;
    }

    /// <summary>Lets a 32-bit displacement lead here.</summary>
    internal readonly void Bind32(byte* displacement) => Unsafe.WriteUnaligned(displacement, (int)(_next - displacement - 4));

    /// <summary>Lets a 32-bit displacement lead to a given place of the same mapping.</summary>
    internal static void Bind32(byte* displacement, byte* target) => Unsafe.WriteUnaligned(displacement, (int)(target - displacement - 4));

    /// <summary>JMP rel32 to a known place of the same mapping.</summary>
    internal void JumpTo(byte* target)
    {
        Byte(0xE9);
        Word32((int)(target - _next - 4));
    }

    /// <summary>LEA r64, [a place of the same mapping].</summary>
    internal void LeaCode(HostRegister to, byte* target)
    {
        Byte(0x48 | (((int)to >> 3) << 2));
        Byte(0x8D);
        Byte((((int)to & 7) << 3) | 5);
        Word32((int)(target - _next - 4));
    }

    /// <summary>JMP r64.</summary>
    internal void JumpRegister(HostRegister target)
    {
        if ((int)target >= 8)
            Byte(0x41);
        Byte(0xFF);
        Byte(0xE0 | ((int)target & 7));
    }

    internal void RegisterForm(int opcode, HostRegister reg, HostRegister rm, bool wide)
    {
        int rex = 0x40 | (wide ? 8 : 0) | (((int)reg >> 3) << 2) | ((int)rm >> 3);
        if (rex != 0x40)
            Byte(rex);
        Byte(opcode);
        Byte(0xC0 | (((int)reg & 7) << 3) | ((int)rm & 7));
    }

    internal void SlotForm(int opcode, HostRegister reg, int slot, bool wide)
    {
        MemoryForm(opcode, reg, State, slot - StateLayout.Bias, wide);
    }

    private void SlotIndexedForm(int opcode, HostRegister reg, HostRegister index, int slot)
    {
        Byte(0x48 | (((int)reg >> 3) << 2) | (((int)index >> 3) << 1));
        Byte(opcode);
        Byte(0x80 | (((int)reg & 7) << 3) | 4);
        Byte(0xC0 | (((int)index & 7) << 3) | (int)State);
        Word32(slot - StateLayout.Bias);
    }

    internal void MemoryForm(int opcode, HostRegister reg, HostRegister @base, int displacement, bool wide)
    {
        int rex = 0x40 | (wide ? 8 : 0) | (((int)reg >> 3) << 2) | ((int)@base >> 3);
        if (rex != 0x40)
            Byte(rex);
        Byte(opcode);
        ModRmMemory((int)reg, @base, displacement);
    }

    /// <summary>ModRM (and SIB) of [base + displacement], with the low bits of the reg field.</summary>
    internal void ModRmMemory(int reg, HostRegister @base, int displacement)
    {
        int low = (int)@base & 7;
        bool isShort = displacement == (sbyte)displacement;
        int mod = displacement == 0 && low != 5 ? 0 : isShort ? 1 : 2;
        Byte((mod << 6) | ((reg & 7) << 3) | low);
        if (low == 4)
            Byte(0x24);
        if (mod == 1)
            Byte(displacement);
        else if (mod == 2)
            Word32(displacement);
    }

    private void ModRmSlot(int reg, int slot) => ModRmMemory(reg, State, slot - StateLayout.Bias);

    /// <summary>MOV r64, [operand].</summary>
    internal void LoadOperand(HostRegister to, in HostOperand operand) => OperandForm(0x8B, to, operand);

    /// <summary>MOV [operand], r64.</summary>
    internal void StoreOperand(in HostOperand operand, HostRegister from) => OperandForm(0x89, from, operand);

    /// <summary>MOV of 1, 2, 4 or 8 bytes at an operand to a register, zero-extended.</summary>
    internal void LoadSized(HostRegister to, in HostOperand operand, int size)
    {
        if (size >= 4)
        {
            SizedForm(0x8B, to, operand, size);
            return;
        }

        Byte(0x40 | (((int)to >> 3) << 2) | (((int)operand.Index >> 3) << 1) | ((int)operand.Base >> 3));
        Byte(0x0F);
        Byte(size == 1 ? 0xB6 : 0xB7);
        ModRmOperand((int)to, operand);
    }

    /// <summary>MOV of the low 1, 2, 4 or 8 bytes of a register to an operand.</summary>
    internal void StoreSized(in HostOperand operand, HostRegister from, int size) => SizedForm(0x89, from, operand, size);

    /// <summary>An instruction with a register and an operand of 1, 2, 4 or 8 bytes; the opcode is that for more than one byte.</summary>
    internal void SizedForm(int opcode, HostRegister reg, in HostOperand operand, int size)
    {
        if (size == 2)
            Byte(0x66);
        Byte((size == 8 ? 0x48 : 0x40) | (((int)reg >> 3) << 2) | (((int)operand.Index >> 3) << 1) | ((int)operand.Base >> 3));
        Byte(size == 1 ? opcode - 1 : opcode);
        ModRmOperand((int)reg, operand);
    }

    /// <summary>ModRM and SIB of an operand, with the low bits of the reg field.</summary>
    internal void ModRmOperand(int reg, in HostOperand operand)
    {
        int displacement = operand.Displacement;
        bool isShort = displacement == (sbyte)displacement;
        int mod = displacement == 0 && ((int)operand.Base & 7) != 5 ? 0 : isShort ? 1 : 2;
        Byte((mod << 6) | ((reg & 7) << 3) | 4);
        Byte((((int)operand.Index & 7) << 3) | ((int)operand.Base & 7));
        if (mod == 1)
            Byte(displacement);
        else if (mod == 2)
            Word32(displacement);
    }

    private void OperandForm(int opcode, HostRegister reg, in HostOperand operand)
    {
        Byte(0x48 | (((int)reg >> 3) << 2) | (((int)operand.Index >> 3) << 1) | ((int)operand.Base >> 3));
        Byte(opcode);
        ModRmOperand((int)reg, operand);
    }

    private void IndexedForm(int opcode, HostRegister reg, HostRegister @base, HostRegister index, int scale, int displacement, bool wide)
    {
        int rex = 0x40 | (wide ? 8 : 0) | (((int)reg >> 3) << 2) | (((int)index >> 3) << 1) | ((int)@base >> 3);
        if (rex != 0x40)
            Byte(rex);
        Byte(opcode);
        bool isShort = displacement == (sbyte)displacement;
        int mod = displacement == 0 && ((int)@base & 7) != 5 ? 0 : isShort ? 1 : 2;
        Byte((mod << 6) | (((int)reg & 7) << 3) | 4);
        Byte((scale << 6) | (((int)index & 7) << 3) | ((int)@base & 7));
        if (mod == 1)
            Byte(displacement);
        else if (mod == 2)
            Word32(displacement);
    }

    /// <summary>The three-byte VEX prefix, 128 bits, with the register of its own field.</summary>
    internal void Vex(int map, int prefix, bool wide, int reg, int index, int @base, int vvvv)
    {
        Byte(0xC4);
        Byte(((~reg >> 3) << 7) & 0x80 | (((~index >> 3) & 1) << 6) | (((~@base >> 3) & 1) << 5) | map);
        Byte((wide ? 0x80 : 0) | ((~vvvv & 15) << 3) | prefix);
    }
}
