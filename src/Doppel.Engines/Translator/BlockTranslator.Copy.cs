using Iced.Intel;

namespace Doppel.Engines.Translator;

/// <summary>Instructions that are copied with other registers and another address.</summary>
internal sealed unsafe partial class BlockTranslator
{
    private void EmitCopy(in Instruction instruction, byte* bytes)
    {
        var raw = new RawInstruction(bytes, instruction, Is64);
        OpCodeInfo opcode = instruction.OpCode;
        InstructionInfo info = _info.GetInfo(instruction);
        int reg = raw.Reg, rm = raw.Rm, vvvv = -1, immediateBytes = ImmediateBytes(instruction);
        bool hasModRm = false, byteRegisters = false, onMemory = false, writes = false;
        int regGuest = -1, rmGuest = -1, vvvvGuest = -1, opcodeGuest = -1;
        bool regWritten = false, rmWritten = false, vvvvWritten = false;
        bool usesCl = false, regHigh = false, rmHigh = false;
        for (int i = 0; i < instruction.OpCount; i++)
        {
            OpKind kind = instruction.GetOpKind(i);
            OpAccess access = info.GetOpAccess(i);
            bool isWritten = access is OpAccess.Write or OpAccess.CondWrite or OpAccess.ReadWrite or OpAccess.ReadCondWrite;
            if (kind == OpKind.Memory)
            {
                hasModRm = onMemory = true;
                writes = isWritten;
                continue;
            }

            if (kind != OpKind.Register)
                continue;
            Register register = instruction.GetOpRegister(i);
            bool isGpr = register.IsGPR();
            byteRegisters |= register.IsGPR8();
            switch (Field(opcode.GetOpKind(i)))
            {
                case OperandField.Reg:
                    hasModRm = true;
                    if (isGpr)
                    {
                        regGuest = Number(register);
                        regWritten = isWritten;
                        regHigh = IsHighByte(register);
                    }

                    break;
                case OperandField.Rm:
                    hasModRm = true;
                    if (isGpr)
                    {
                        rmGuest = Number(register);
                        rmWritten = isWritten;
                        rmHigh = IsHighByte(register);
                    }

                    break;
                case OperandField.Vvvv when isGpr:
                    vvvvGuest = Number(register);
                    vvvvWritten = isWritten;
                    break;
                case OperandField.Opcode:
                    opcodeGuest = Number(register);
                    break;
                case OperandField.Implied when register == Register.CL:
                    usesCl = true;
                    break;
            }
        }

        if (opcodeGuest >= 0)
        {
            EmitOpcodeRegister(instruction, raw, opcodeGuest, immediateBytes);
            return;
        }

        if (!hasModRm)
        {
            // Accumulator forms: the accumulator is where it always is.
            EmitPlain(instruction, bytes);
            return;
        }

        HostOperand operand = HostOperand.Checked;
        if (onMemory)
        {
            int size = instruction.MemorySize.GetSize();
            operand = EmitOperand(instruction, size, writes, size >= 16 && NeedsAlignment(instruction));
        }

        // Scratch registers that are free now: RCX, and without a memory operand also the other two.
        HostRegister regTemporary = usesCl ? RegisterMap.Temporary : RegisterMap.Check;
        if (usesCl)
        {
            _loadedGroup = -1;
            _code.Move(RegisterMap.Check, RegisterMap.GuestCounter);
        }

        if (regGuest >= 0)
        {
            if (usesCl && onMemory && RegisterMap.IsDisplaced(regGuest))
            {
                // SHLD and SHRD by CL with a displaced source: the address takes one register, the source the other.
                _code.LeaIndexed(RegisterMap.Address, RegisterMap.Address, RegisterMap.Temporary, 0, 0);
                _code.Store(HostRegister.Rsp, -8, HostRegister.Rbx);
                _code.LoadSlot(HostRegister.Rbx, StateLayout.Gpr + (8 * regGuest));
                _code.MoveImmediate32(RegisterMap.Temporary, 0);
                raw.Emit(ref _code, (int)HostRegister.Rbx, rm, vvvv, immediateBytes, byteRegisters, operand);
                _code.Load(HostRegister.Rbx, HostRegister.Rsp, -8);
                return;
            }

            reg = (int)(regHigh ? ReachHigh(regGuest, regTemporary) : Reach(regGuest, regTemporary));
        }

        if (rmGuest >= 0)
            rm = (int)(rmHigh ? ReachHigh(rmGuest, RegisterMap.Address) : Reach(rmGuest, RegisterMap.Address));
        if (vvvvGuest >= 0)
            vvvv = (int)Reach(vvvvGuest, onMemory ? SpareForVvvv(regGuest) : RegisterMap.Temporary);
        raw.Emit(ref _code, reg, rm, vvvv, immediateBytes, byteRegisters, operand);
        if (regHigh)
            StoreHighIf(regWritten, regGuest, (HostRegister)reg);
        else if (regWritten)
            StoreIfDisplaced(regGuest, (HostRegister)reg);
        if (rmHigh)
            StoreHighIf(rmWritten, rmGuest, (HostRegister)rm);
        else if (rmWritten)
            StoreIfDisplaced(rmGuest, (HostRegister)rm);
        if (vvvvWritten)
            StoreIfDisplaced(vvvvGuest, (HostRegister)vvvv);
    }

    // With a memory operand only RCX is free; a destination in the reg field is written after the source is read, so the
    // two may share it, except where both are read.
    private static HostRegister SpareForVvvv(int regGuest) => RegisterMap.Check;

    private void EmitOpcodeRegister(in Instruction instruction, in RawInstruction raw, int guest, int immediateBytes)
    {
        bool isHigh = instruction.Op0Kind == OpKind.Register && IsHighByte(instruction.Op0Register);
        HostRegister register = isHigh ? RegisterMap.Check : Reach(guest, RegisterMap.Temporary);
        if (raw.OperandPrefix)
            _code.Byte(0x66);
        int rex = 0x40 | (raw.IsWide ? 8 : 0) | ((int)register >> 3);
        bool isByte = instruction.Op0Kind == OpKind.Register && instruction.Op0Register.IsGPR8();
        if (rex != 0x40 || (isByte && raw.Rex != 0))
            _code.Byte(rex);
        _code.Byte((raw.Opcode & 0xF8) | ((int)register & 7));
        _code.Bytes(raw.Immediate - immediateBytes, immediateBytes);
        if (isHigh)
            StoreHighIf(true, guest, register);
        else
            StoreIfDisplaced(guest, register);
    }

    private enum OperandField
    {
        Implied,
        Reg,
        Rm,
        Vvvv,
        Opcode,
    }

    private static OperandField Field(OpCodeOperandKind kind) => kind switch
    {
        OpCodeOperandKind.r8_reg or OpCodeOperandKind.r16_reg or OpCodeOperandKind.r32_reg or OpCodeOperandKind.r64_reg or
        OpCodeOperandKind.r16_reg_mem or OpCodeOperandKind.r32_reg_mem or OpCodeOperandKind.r64_reg_mem or
        OpCodeOperandKind.xmm_reg or OpCodeOperandKind.ymm_reg => OperandField.Reg,
        OpCodeOperandKind.r8_or_mem or OpCodeOperandKind.r16_or_mem or OpCodeOperandKind.r32_or_mem or OpCodeOperandKind.r64_or_mem or
        OpCodeOperandKind.r32_or_mem_mpx or OpCodeOperandKind.r64_or_mem_mpx or OpCodeOperandKind.r16_rm or OpCodeOperandKind.r32_rm or
        OpCodeOperandKind.r64_rm or OpCodeOperandKind.xmm_or_mem or OpCodeOperandKind.ymm_or_mem or OpCodeOperandKind.xmm_rm or
        OpCodeOperandKind.ymm_rm => OperandField.Rm,
        OpCodeOperandKind.r32_vvvv or OpCodeOperandKind.r64_vvvv or OpCodeOperandKind.xmm_vvvv or OpCodeOperandKind.ymm_vvvv => OperandField.Vvvv,
        OpCodeOperandKind.r8_opcode or OpCodeOperandKind.r16_opcode or OpCodeOperandKind.r32_opcode or OpCodeOperandKind.r64_opcode => OperandField.Opcode,
        _ => OperandField.Implied,
    };

    private static int ImmediateBytes(in Instruction instruction)
    {
        int count = 0;
        for (int i = 0; i < instruction.OpCount; i++)
        {
            count += instruction.GetOpKind(i) switch
            {
                OpKind.Immediate8 or OpKind.Immediate8_2nd or OpKind.Immediate8to16 or OpKind.Immediate8to32 or OpKind.Immediate8to64 => 1,
                OpKind.Immediate16 => 2,
                OpKind.Immediate32 or OpKind.Immediate32to64 => 4,
                OpKind.Immediate64 => 8,
                _ => 0,
            };
            // The fourth operand of VBLENDV and its like is a register in an immediate byte.
            if (instruction.OpCode.GetOpKind(i) is OpCodeOperandKind.xmm_is4 or OpCodeOperandKind.ymm_is4 or OpCodeOperandKind.xmm_is5 or OpCodeOperandKind.ymm_is5)
                count += 1;
        }

        // Shifts by one carry their count in the opcode.
        return instruction.OpCount == 2 && instruction.Op1Kind == OpKind.Immediate8 && instruction.OpCode.GetOpKind(1) == OpCodeOperandKind.imm8_const_1 ? 0 : count;
    }

    // Legacy 16-byte memory operands must be aligned but for the moves that say otherwise; of the VEX ones only those
    // that say so.
    private static bool NeedsAlignment(in Instruction instruction)
    {
        if (instruction.Encoding == EncodingKind.VEX)
        {
            return instruction.Mnemonic is Mnemonic.Vmovaps or Mnemonic.Vmovapd or Mnemonic.Vmovdqa or Mnemonic.Vmovntdq or
                Mnemonic.Vmovntps or Mnemonic.Vmovntpd or Mnemonic.Vmovntdqa;
        }

        return instruction.Mnemonic is not (Mnemonic.Movups or Mnemonic.Movupd or Mnemonic.Movdqu or Mnemonic.Lddqu or
            Mnemonic.Pcmpistri or Mnemonic.Pcmpistrm or Mnemonic.Pcmpestri or Mnemonic.Pcmpestrm or Mnemonic.Pcmpestri64 or Mnemonic.Pcmpestrm64);
    }
}
