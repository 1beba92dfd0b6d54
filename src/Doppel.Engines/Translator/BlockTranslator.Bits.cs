using Doppel.Machine.Cpu;
using Iced.Intel;

namespace Doppel.Engines.Translator;

/// <summary>Instructions whose operands are not where their encoding says: bit strings, CMPXCHG16B, selectors.</summary>
internal sealed unsafe partial class BlockTranslator
{
    /// <summary>BT and its kin with a bit string in memory: the register reaches beyond the operand.</summary>
    private static bool IsBitString(in Instruction instruction) =>
        instruction.Op0Kind == OpKind.Memory && instruction.Op1Kind == OpKind.Register;

    // The operand that holds the bit is at the address plus the bit's number by 32 or 64, times 4 or 8, rounded down.
    private void EmitBitString(in Instruction instruction, byte* bytes)
    {
        int size = instruction.MemorySize.GetSize();
        int guest = Number(instruction.Op1Register);
        bool isWrite = instruction.Mnemonic != Mnemonic.Bt;
        EmitOffset(instruction);
        HostRegister bit = Reach(guest, RegisterMap.Temporary);
        _code.MoveImmediate32(RegisterMap.Check, size == 8 ? 6u : 5u);
        if (size == 4)
        {
            _code.SignExtend32(RegisterMap.Temporary, bit);
            bit = RegisterMap.Temporary;
        }

        _code.Sarx(RegisterMap.Temporary, bit, RegisterMap.Check, wide: true);
        if (Is64)
            _code.LeaIndexed(RegisterMap.Address, RegisterMap.Address, RegisterMap.Temporary, size == 8 ? 3 : 2, 0);
        else
            _code.LeaIndexed32(RegisterMap.Address, RegisterMap.Address, RegisterMap.Temporary, 2, 0);
        if (AddressSize(instruction) == 2)
            _code.ZeroExtend16(RegisterMap.Address, RegisterMap.Address);
        EmitSegment(instruction.MemorySegment, size, isWrite);
        EmitTlbCheck(size, isWrite);
        _code.Pext(RegisterMap.Check, Reach(guest, RegisterMap.Check), size == 8 ? StateLayout.BitMask64 : StateLayout.AlignMask32);
        new RawInstruction(bytes, instruction, Is64).Emit(ref _code, (int)RegisterMap.Check, 0, -1, 0, byteRegisters: false, HostOperand.Checked);
    }

    // RDX:RAX are at home, RCX comes from its register, RBX is at home.
    private void EmitWideExchange(in Instruction instruction, byte* bytes)
    {
        int size = instruction.Mnemonic == Mnemonic.Cmpxchg16b ? 16 : 8;
        EmitAddress(instruction, size, isWrite: true);
        if (size == 16)
            EmitAlignmentCheck(size);
        EmitTlbCheck(size, isWrite: true);
        _code.Move(RegisterMap.Check, RegisterMap.GuestCounter);
        new RawInstruction(bytes, instruction, Is64).Emit(ref _code, 1, 0, -1, 0, byteRegisters: false, HostOperand.Checked);
    }

    private void EmitReadSelector(in Instruction instruction)
    {
        int slot = StateLayout.Selector((Segment)(instruction.Op1Register - Register.ES));
        if (instruction.Op0Kind == OpKind.Memory)
        {
            EmitAddress(instruction, 2, isWrite: true);
            EmitTlbCheck(2, isWrite: true);
            _code.LoadSlot16(RegisterMap.Check, slot);
            _code.LeaIndexed(RegisterMap.Address, RegisterMap.Address, RegisterMap.Temporary, 0, 0);
            _code.Byte(0x66);
            _code.MemoryForm(0x89, RegisterMap.Check, RegisterMap.Address, 0, wide: false);
            return;
        }

        int guest = Number(instruction.Op0Register);
        HostRegister target = RegisterMap.IsDisplaced(guest) ? RegisterMap.Temporary : RegisterMap.Home(guest);
        if (instruction.Op0Register.GetSize() == 2)
        {
            // MOV r16, r16: the rest of the register stays.
            target = Reach(guest, RegisterMap.Temporary);
            _code.LoadSlot16(RegisterMap.Check, slot);
            _code.Byte(0x66);
            _code.RegisterForm(0x8B, target, RegisterMap.Check, wide: false);
            StoreIfDisplaced(guest, target);
            return;
        }

        _code.LoadSlot16(target, slot);
        StoreIfDisplaced(guest, target);
    }
}
