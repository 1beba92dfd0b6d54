using Iced.Intel;

namespace Doppel.Engines.Translator;

/// <summary>Emission of one guest instruction.</summary>
internal sealed unsafe partial class BlockTranslator
{
    /// <summary>Emits one instruction; false when control never goes on to the next.</summary>
    private bool EmitInstruction(in Instruction instruction, byte* bytes)
    {
        switch (instruction.Mnemonic)
        {
            case Mnemonic.Nop or Mnemonic.Endbr64 or Mnemonic.Endbr32 or Mnemonic.Prefetcht0 or Mnemonic.Prefetcht1 or Mnemonic.Prefetcht2 or Mnemonic.Prefetchnta or Mnemonic.Prefetchw:
                return true;
            case Mnemonic.Cbw or Mnemonic.Cwde or Mnemonic.Cdqe or Mnemonic.Cwd or Mnemonic.Cdq or Mnemonic.Cqo or
                Mnemonic.Clc or Mnemonic.Stc or Mnemonic.Cmc or Mnemonic.Lahf or Mnemonic.Sahf or
                Mnemonic.Lfence or Mnemonic.Sfence or Mnemonic.Mfence or Mnemonic.Pause:
                EmitPlain(instruction, bytes);
                return true;
            case Mnemonic.Lea:
                EmitLea(instruction);
                return true;
            case var _ when IsSegmentLoad(instruction):
                EmitSegmentLoad(instruction);
                return true;
            case Mnemonic.Push:
                EmitPush(instruction);
                return true;
            case Mnemonic.Pop:
                EmitPop(instruction);
                return true;
            case Mnemonic.Leave:
                EmitLeaveFrame(instruction);
                return true;
            case Mnemonic.Pusha or Mnemonic.Pushad:
                EmitPushAll(instruction.Mnemonic == Mnemonic.Pusha ? 2 : 4);
                return true;
            case Mnemonic.Popa or Mnemonic.Popad:
                EmitPopAll(instruction.Mnemonic == Mnemonic.Popa ? 2 : 4);
                return true;
            case var _ when IsShortCount(instruction.Code):
                EmitShortCount(instruction);
                return true;
            case var _ when IsMmu(instruction) && CanTranslateMmu(instruction):
                return EmitMmu(instruction);
            case var _ when IsString(instruction):
                EmitString(instruction);
                return true;
            case var _ when IsSystem(instruction):
                EmitSystem(instruction);
                return !EndsBlock(instruction);
            case Mnemonic.Bswap:
                EmitBswap(instruction);
                return true;
            case Mnemonic.Div or Mnemonic.Idiv:
                EmitDivide(instruction);
                return true;
            case Mnemonic.Bt or Mnemonic.Bts or Mnemonic.Btr or Mnemonic.Btc when IsBitString(instruction):
                EmitBitString(instruction, bytes);
                return true;
            case Mnemonic.Pcmpistri or Mnemonic.Pcmpestri or Mnemonic.Vpcmpistri or Mnemonic.Vpcmpestri or Mnemonic.Pcmpestri64 or Mnemonic.Vpcmpestri64:
                EmitCopy(instruction, bytes);
                _code.Move32(RegisterMap.GuestCounter, RegisterMap.Check);
                return true;
            case Mnemonic.Cmpxchg16b or Mnemonic.Cmpxchg8b:
                EmitWideExchange(instruction, bytes);
                return true;
            case Mnemonic.Mov when instruction.Op1Kind == OpKind.Register && instruction.Op1Register.IsSegmentRegister():
                EmitReadSelector(instruction);
                return true;
            case Mnemonic.Jmp:
                EmitJump(instruction);
                return false;
            case Mnemonic.Call:
                EmitCall(instruction);
                return false;
            case Mnemonic.Ret:
                EmitReturn(instruction);
                return false;
            case Mnemonic.Mov when instruction.Op1Kind is OpKind.Immediate64 or OpKind.Immediate32 or OpKind.Immediate32to64 && instruction.Op0Kind == OpKind.Register && instruction.Op0Register.GetSize() >= 4:
                EmitMoveImmediate(instruction);
                return true;
            case Mnemonic.Mov when instruction.Code is Code.Mov_AL_moffs8 or Code.Mov_AX_moffs16 or Code.Mov_EAX_moffs32 or Code.Mov_RAX_moffs64 or Code.Mov_moffs8_AL or Code.Mov_moffs16_AX or Code.Mov_moffs32_EAX or Code.Mov_moffs64_RAX:
                EmitMoveOffset(instruction);
                return true;
        }

        if (instruction.IsJccShortOrNear)
        {
            EmitConditionalBranch(instruction);
            return true;
        }

        if (IsCountBranch(instruction))
        {
            EmitCountBranch(instruction);
            return true;
        }

        EmitCopy(instruction, bytes);
        return true;
    }

    private void EmitLea(in Instruction instruction)
    {
        // The address register takes the result first: a base may be the destination itself.
        EmitOffset(instruction);
        int destination = Number(instruction.Op0Register);
        if (instruction.Op0Register.GetSize() == 2)
        {
            HostRegister target = Reach(destination, RegisterMap.Temporary);
            _code.Byte(0x66);
            _code.RegisterForm(0x8B, target, RegisterMap.Address, wide: false);
            StoreIfDisplaced(destination, target);
            return;
        }

        bool wide = instruction.Op0Register.GetSize() == 8;
        if (RegisterMap.IsDisplaced(destination))
        {
            if (!wide)
                _code.Move32(RegisterMap.Address, RegisterMap.Address);
            _code.StoreSlot(StateLayout.Gpr + (8 * destination), RegisterMap.Address);
        }
        else if (wide)
        {
            _code.Move(RegisterMap.Home(destination), RegisterMap.Address);
        }
        else
        {
            _code.Move32(RegisterMap.Home(destination), RegisterMap.Address);
        }
    }

    private void EmitMoveImmediate(in Instruction instruction)
    {
        int destination = Number(instruction.Op0Register);
        ulong value = instruction.GetImmediate(1);
        if (instruction.Op0Register.GetSize() == 4)
            value = (uint)value;
        HostRegister target = RegisterMap.IsDisplaced(destination) ? RegisterMap.Temporary : RegisterMap.Home(destination);
        _code.MoveImmediate(target, value);
        StoreIfDisplaced(destination, target);
    }

    // MOV between the accumulator and an absolute address.
    private void EmitMoveOffset(in Instruction instruction)
    {
        bool isStore = instruction.Op0Kind == OpKind.Memory;
        int size = instruction.MemorySize.GetSize();
        EmitAddress(instruction, size, isStore);
        EmitTlbCheck(size, isStore);
        _code.SizedForm(isStore ? 0x89 : 0x8B, HostRegister.Rax, HostOperand.Checked, size);
    }

    // Instructions without ModRM whose registers are where they always are.
    private void EmitPlain(in Instruction instruction, byte* bytes)
    {
        if (Is64 || instruction.Encoding == EncodingKind.VEX)
        {
            _code.Bytes(bytes, instruction.Length);
            return;
        }

        switch (instruction.Mnemonic)
        {
            case Mnemonic.Lfence or Mnemonic.Mfence or Mnemonic.Sfence:
                _code.Bytes(bytes + instruction.Length - 3, 3);
                return;
            case Mnemonic.Pause:
                _code.Bytes(bytes, 2);
                return;
        }

        var raw = new RawInstruction(bytes, instruction, Is64);
        int immediateBytes = ImmediateBytes(instruction);
        if (raw.OperandPrefix)
            _code.Byte(0x66);
        if (raw.Map != 0)
            _code.Byte(0x0F);
        _code.Byte(raw.Opcode);
        _code.Bytes(raw.Immediate - immediateBytes, immediateBytes);
    }

    // INC and DEC of one byte, which 64-bit code does not have.
    private static bool IsShortCount(Code code) => code is Code.Inc_r16 or Code.Inc_r32 or Code.Dec_r16 or Code.Dec_r32;

    private void EmitShortCount(in Instruction instruction)
    {
        if (instruction.Op0Register.GetSize() == 2)
            _code.Byte(0x66);
        int extension = instruction.Mnemonic == Mnemonic.Inc ? 0 : 1;
        _code.RegisterForm(0xFF, (HostRegister)extension, RegisterMap.Home(Number(instruction.Op0Register)), wide: false);
    }

    private void EmitBswap(in Instruction instruction)
    {
        int guest = Number(instruction.Op0Register);
        HostRegister register = Reach(guest, RegisterMap.Temporary);
        int size = instruction.Op0Register.GetSize();
        if (size == 2)
        {
            // Undefined by the manual; processors clear the 16-bit register. MOV r16, 0 does it without flags.
            _code.Byte(0x66);
            if ((int)register >= 8)
                _code.Byte(0x41);
            _code.Byte(0xB8 + ((int)register & 7));
            _code.Byte(0);
            _code.Byte(0);
        }
        else
        {
            int rex = 0x40 | (size == 8 ? 8 : 0) | ((int)register >> 3);
            if (rex != 0x40)
                _code.Byte(rex);
            _code.Byte(0x0F);
            _code.Byte(0xC8 + ((int)register & 7));
        }

        StoreIfDisplaced(guest, register);
    }

    private void StoreIfDisplaced(int guest, HostRegister register)
    {
        if (RegisterMap.IsDisplaced(guest))
            _code.StoreSlot(StateLayout.Gpr + (8 * guest), register);
    }

    private void StoreTo(int guest, HostRegister register)
    {
        if (RegisterMap.IsDisplaced(guest))
            _code.StoreSlot(StateLayout.Gpr + (8 * guest), register);
        else
            _code.Move(RegisterMap.Home(guest), register);
    }
}
