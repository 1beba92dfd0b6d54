using Iced.Intel;

namespace Doppel.Engines.Translator;

/// <summary>
/// MOVS, STOS, LODS, SCAS and CMPS, alone and repeated (REP MOVS and REP STOS in flat segments have stubs of their own). They
/// go forward: with DF set they are interpreted.
/// </summary>
internal sealed unsafe partial class BlockTranslator
{
    private static bool IsString(in Instruction instruction) => instruction.Code is
        Code.Movsb_m8_m8 or Code.Movsw_m16_m16 or Code.Movsd_m32_m32 or Code.Movsq_m64_m64 or
        Code.Stosb_m8_AL or Code.Stosw_m16_AX or Code.Stosd_m32_EAX or Code.Stosq_m64_RAX or
        Code.Lodsb_AL_m8 or Code.Lodsw_AX_m16 or Code.Lodsd_EAX_m32 or Code.Lodsq_RAX_m64 or
        Code.Scasb_AL_m8 or Code.Scasw_AX_m16 or Code.Scasd_EAX_m32 or Code.Scasq_RAX_m64 or
        Code.Cmpsb_m8_m8 or Code.Cmpsw_m16_m16 or Code.Cmpsd_m32_m32 or Code.Cmpsq_m64_m64;

    /// <summary>Bytes of the addresses of a string instruction, 2, 4 or 8.</summary>
    private static int StringAddressSize(in Instruction instruction)
    {
        for (int i = 0; i < instruction.OpCount; i++)
        {
            switch (instruction.GetOpKind(i))
            {
                case OpKind.MemorySegSI or OpKind.MemoryESDI:
                    return 2;
                case OpKind.MemorySegESI or OpKind.MemoryESEDI:
                    return 4;
            }
        }

        return 8;
    }

    private bool CanTranslateString(in Instruction instruction) =>
        (!Is64 || StringAddressSize(instruction) == 8) && !(instruction.HasRepPrefix && instruction.HasRepnePrefix);

    private void EmitString(in Instruction instruction)
    {
        _code.LoadSlot(RegisterMap.Check, SystemSlots.FlagSystem);
        _code.Pext(RegisterMap.Check, RegisterMap.Check, StateLayout.DirectionMask);
        byte* forward = _code.JumpIfRcxZero();
        _ = EmitLeaveToInterpreter();
        _code.Bind8(forward);
        if (instruction.HasRepPrefix || instruction.HasRepnePrefix)
            EmitRepeated(instruction);
        else
            EmitElement(instruction);
    }

    // Between elements the registers say how far it is: an event, a fault or a miss may leave there.
    private void EmitRepeated(in Instruction instruction)
    {
        int width = StringAddressSize(instruction);
        byte* next = _instructionStart = _code.Position;
        EmitOffsetOf(RegisterMap.Check, RegisterMap.GuestCounter, width);
        byte* isDone = _code.JumpIfRcxZero();
        byte* goesOn = _code.JumpShort();
        _code.Bind8(isDone);
        byte* done = _code.Jump();
        _code.Bind8(goesOn);
        _code.LoadSlot32(RegisterMap.Check, StateLayout.PendingEvents);
        byte* quiet = _code.JumpIfRcxZero();
        _ = EmitLeaveToInterpreter();
        _code.Bind8(quiet);
        EmitElement(instruction);
        EmitAdvance(RegisterMap.GuestCounter, width, -1);
        bool compares = instruction.Mnemonic is
            Mnemonic.Scasb or Mnemonic.Scasw or Mnemonic.Scasd or Mnemonic.Scasq or
            Mnemonic.Cmpsb or Mnemonic.Cmpsw or Mnemonic.Cmpsd or Mnemonic.Cmpsq;
        // JE and JNE.
        byte* again = !compares ? _code.Jump() : _code.JumpIf(instruction.HasRepnePrefix ? 5 : 4);
        Emitter.Bind32(again, next);
        _code.Bind32(done);
    }

    private void EmitElement(in Instruction instruction)
    {
        int size = instruction.MemorySize.GetSize();
        int width = StringAddressSize(instruction);
        switch (instruction.Mnemonic)
        {
            case Mnemonic.Stosb or Mnemonic.Stosw or Mnemonic.Stosd or Mnemonic.Stosq:
                EmitAccess(HostRegister.Rdi, Register.ES, width, size, isWrite: true);
                _code.StoreSized(HostOperand.Checked, HostRegister.Rax, size);
                EmitAdvance(HostRegister.Rdi, width, size);
                break;
            case Mnemonic.Lodsb or Mnemonic.Lodsw or Mnemonic.Lodsd or Mnemonic.Lodsq:
                EmitAccess(HostRegister.Rsi, instruction.MemorySegment, width, size, isWrite: false);
                _code.SizedForm(0x8B, HostRegister.Rax, HostOperand.Checked, size);
                EmitAdvance(HostRegister.Rsi, width, size);
                break;
            case Mnemonic.Scasb or Mnemonic.Scasw or Mnemonic.Scasd or Mnemonic.Scasq:
                EmitAccess(HostRegister.Rdi, Register.ES, width, size, isWrite: false);
                _code.SizedForm(0x3B, HostRegister.Rax, HostOperand.Checked, size);
                EmitAdvance(HostRegister.Rdi, width, size);
                break;
            default:
                bool moves = instruction.Mnemonic is Mnemonic.Movsb or Mnemonic.Movsw or Mnemonic.Movsd or Mnemonic.Movsq;
                EmitAccess(HostRegister.Rsi, instruction.MemorySegment, width, size, isWrite: false);
                _code.LoadSized(RegisterMap.Check, HostOperand.Checked, size);
                _code.StoreSlot(StateLayout.Operand, RegisterMap.Check);
                _instructionStart = _code.Position;
                EmitAccess(HostRegister.Rdi, Register.ES, width, size, moves);
                _code.LoadSlot(RegisterMap.Check, StateLayout.Operand);
                _code.SizedForm(moves ? 0x89 : 0x3B, RegisterMap.Check, HostOperand.Checked, size);
                EmitAdvance(HostRegister.Rsi, width, size);
                EmitAdvance(HostRegister.Rdi, width, size);
                break;
        }
    }

    // A pointer or a counter as wide as addresses of the instruction are.
    private void EmitOffsetOf(HostRegister to, HostRegister pointer, int width)
    {
        if (width == 8)
            _code.Move(to, pointer);
        else if (width == 4)
            _code.Move32(to, pointer);
        else
            _code.ZeroExtend16(to, pointer);
    }

    private void EmitAccess(HostRegister pointer, Register segment, int width, int size, bool isWrite)
    {
        EmitOffsetOf(RegisterMap.Address, pointer, width);
        EmitSegment(segment, size, isWrite);
        EmitTlbCheck(size, isWrite);
    }

    private void EmitAdvance(HostRegister pointer, int width, int size)
    {
        if (width == 8)
            _code.Lea(pointer, pointer, size);
        else if (width == 4)
            _code.Lea32(pointer, pointer, size);
        else
            _code.Lea16(pointer, pointer, size);
    }

    /// <summary>
    /// The stubs of REP MOVS and REP STOS count with whole registers: has the instruction interpreted when a pointer or the
    /// counter has more than 32 bits, or when the destination would go beyond 4 GiB.
    /// </summary>
    private void EmitRepeatReach(int shift, bool moves)
    {
        const HostRegister Temporary = RegisterMap.Temporary;
        const HostRegister Check = RegisterMap.Check;
        _loadedGroup = -1;
        _code.Pext(Check, HostRegister.Rdi, SegmentSlots.UpperHalf);
        EmitAddUpper(RegisterMap.GuestCounter);
        if (moves)
        {
            EmitAddUpper(HostRegister.Rsi);
            _code.LeaIndexed(Temporary, HostRegister.Rsi, RegisterMap.GuestCounter, shift, 0);
            EmitAddUpper(Temporary);
        }

        _code.LeaIndexed(Temporary, HostRegister.Rdi, RegisterMap.GuestCounter, shift, 0);
        EmitAddUpper(Temporary);
        byte* inside = _code.JumpIfRcxZero();
        _ = EmitLeaveToInterpreter();
        _code.Bind8(inside);
    }

    private void EmitAddUpper(HostRegister register)
    {
        _code.Pext(RegisterMap.Temporary, register, SegmentSlots.UpperHalf);
        _code.LeaIndexed(RegisterMap.Check, RegisterMap.Check, RegisterMap.Temporary, 0, 0);
    }
}
