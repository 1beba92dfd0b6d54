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
            case Mnemonic.Nop or Mnemonic.Endbr64 or Mnemonic.Prefetcht0 or Mnemonic.Prefetcht1 or Mnemonic.Prefetcht2 or Mnemonic.Prefetchnta or Mnemonic.Prefetchw:
                return true;
            case Mnemonic.Cbw or Mnemonic.Cwde or Mnemonic.Cdqe or Mnemonic.Cwd or Mnemonic.Cdq or Mnemonic.Cqo or
                Mnemonic.Clc or Mnemonic.Stc or Mnemonic.Cmc or Mnemonic.Lahf or Mnemonic.Sahf or
                Mnemonic.Lfence or Mnemonic.Sfence or Mnemonic.Mfence or Mnemonic.Pause:
                _code.Bytes(bytes, instruction.Length);
                return true;
            case Mnemonic.Lea:
                EmitLea(instruction);
                return true;
            case Mnemonic.Push:
                EmitPush(instruction);
                return true;
            case Mnemonic.Pop:
                EmitPop(instruction);
                return true;
            case Mnemonic.Leave:
                EmitLeaveFrame();
                return true;
            case var _ when IsMmu(instruction):
                return EmitMmu(instruction);
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
                if (instruction.Op0Kind == OpKind.NearBranch64)
                    EmitBranch((long)instruction.NearBranch64);
                else
                    EmitIndirect(instruction, isCall: false);
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

        EmitCopy(instruction, bytes);
        return true;
    }

    private void EmitLea(in Instruction instruction)
    {
        // The address register takes the result first: a base may be the destination itself.
        Instruction flat = instruction;
        flat.SegmentPrefix = Register.None;
        EmitAddress(flat);
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
        EmitAddress(instruction);
        EmitTlbCheck(size, isStore);
        if (size == 2)
            _code.Byte(0x66);
        int rex = 0x40 | (size == 8 ? 8 : 0) | (((int)RegisterMap.Temporary >> 3) << 1) | ((int)RegisterMap.Address >> 3);
        _code.Byte(rex);
        _code.Byte((isStore ? 0x88 : 0x8A) | (size == 1 ? 0 : 1));
        _code.Byte(4);
        _code.Byte((((int)RegisterMap.Temporary & 7) << 3) | ((int)RegisterMap.Address & 7));
    }

    private static readonly AccessGroups.Access Pushed = new(4, -8, 8, IsWrite: true);
    private static readonly AccessGroups.Access Popped = new(4, 0, 8, IsWrite: false);

    private void EmitPush(in Instruction instruction)
    {
        HostRegister value = RegisterMap.Check;
        HostOperand operand;
        if (instruction.Op0Kind == OpKind.Memory)
        {
            // The operand is read before the stack is touched; it waits in the state.
            EmitAddress(instruction);
            EmitTlbCheck(8, isWrite: false);
            _code.LoadIndexed(RegisterMap.Check, RegisterMap.Address, RegisterMap.Temporary, 0, 0);
            _code.StoreSlot(StateLayout.Operand, RegisterMap.Check);
            operand = EmitPushCheck();
            _code.LoadSlot(RegisterMap.Check, StateLayout.Operand);
        }
        else
        {
            operand = EmitPushCheck();
            if (instruction.Op0Kind == OpKind.Register)
                value = Reach(Number(instruction.Op0Register), RegisterMap.Check);
            else
                _code.MoveImmediate(RegisterMap.Check, instruction.GetImmediate(0));
        }

        FinishPush(operand, value);
    }

    // Everything that an earlier access of the instruction has read is in the state by now: a miss begins again here.
    private HostOperand EmitPushCheck()
    {
        _instructionStart = _code.Position;
        return EmitStackOperand(Pushed);
    }

    private void FinishPush(in HostOperand operand, HostRegister value)
    {
        _code.StoreOperand(operand, value);
        _code.Lea(RegisterMap.GuestStack, RegisterMap.GuestStack, -8);
    }

    private void EmitPop(in Instruction instruction)
    {
        int destination = Number(instruction.Op0Register);
        HostOperand operand = EmitStackOperand(Popped);
        _code.LoadOperand(RegisterMap.Check, operand);
        _code.Lea(RegisterMap.GuestStack, RegisterMap.GuestStack, 8);
        StoreTo(destination, RegisterMap.Check);
    }

    private void EmitLeaveFrame()
    {
        HostOperand operand = EmitStackOperand(new AccessGroups.Access(5, 0, 8, IsWrite: false));
        _code.LoadOperand(RegisterMap.Check, operand);
        _code.Lea(RegisterMap.GuestStack, HostRegister.Rbp, 8);
        _code.Move(HostRegister.Rbp, RegisterMap.Check);
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

    /// <summary>A direct branch: inside the page it can be patched, outside it goes through the look-up.</summary>
    private void EmitBranch(long target)
    {
        if (target is >= 0 and < 4096)
        {
            if (target <= _pageOffset && !_isCounted)
                EmitEventCheck((int)target);
            byte* jump = _code.Jump();
            _cold.Add(new ColdExit((nint)jump, new ExitRecord { Kind = ExitKind.Branch, PageOffset = (int)target, PatchSite = (nint)jump }, false));
            return;
        }

        _code.LoadSlot(RegisterMap.Address, StateLayout.CodePage);
        _code.Lea(RegisterMap.Address, RegisterMap.Address, (int)target);
        EmitLookup();
    }

    private void EmitConditionalBranch(in Instruction instruction)
    {
        long target = (long)instruction.NearBranch64;
        int condition = (int)instruction.ConditionCode switch
        {
            (int)ConditionCode.o => 0,
            (int)ConditionCode.no => 1,
            (int)ConditionCode.b => 2,
            (int)ConditionCode.ae => 3,
            (int)ConditionCode.e => 4,
            (int)ConditionCode.ne => 5,
            (int)ConditionCode.be => 6,
            (int)ConditionCode.a => 7,
            (int)ConditionCode.s => 8,
            (int)ConditionCode.ns => 9,
            (int)ConditionCode.p => 10,
            (int)ConditionCode.np => 11,
            (int)ConditionCode.l => 12,
            (int)ConditionCode.ge => 13,
            (int)ConditionCode.le => 14,
            _ => 15,
        };
        // Not taken: skip over the taken path. The rest of the block was counted as retired and must be taken back.
        byte* notTaken = _code.JumpIf(condition ^ 1);
        int notRetired = Remaining - 1;
        if (notRetired != 0)
            EmitRetire(-notRetired);

        EmitBranch(target);
        _code.Bind32(notTaken);
    }

    private void EmitCall(in Instruction instruction)
    {
        int next = (int)instruction.NextIP;
        if (instruction.Op0Kind != OpKind.NearBranch64)
        {
            EmitIndirect(instruction, isCall: true);
            return;
        }

        HostOperand operand = EmitPushCheck();
        _code.LoadSlot(RegisterMap.Check, StateLayout.CodePage);
        _code.Lea(RegisterMap.Check, RegisterMap.Check, next);
        FinishPush(operand, RegisterMap.Check);
        EmitBranch((long)instruction.NearBranch64);
    }

    private void EmitIndirect(in Instruction instruction, bool isCall)
    {
        if (instruction.Op0Kind == OpKind.Memory)
        {
            EmitAddress(instruction);
            EmitTlbCheck(8, isWrite: false);
            _code.LoadIndexed(RegisterMap.Check, RegisterMap.Address, RegisterMap.Temporary, 0, 0);
            if (isCall)
                _code.StoreSlot(StateLayout.Operand, RegisterMap.Check);
            else
                _code.Move(RegisterMap.Address, RegisterMap.Check);
        }
        else if (!isCall)
        {
            _code.Move(RegisterMap.Address, Reach(Number(instruction.Op0Register), RegisterMap.Address));
        }
        else
        {
            _code.StoreSlot(StateLayout.Operand, Reach(Number(instruction.Op0Register), RegisterMap.Check));
        }

        if (isCall)
        {
            HostOperand operand = EmitPushCheck();
            _code.LoadSlot(RegisterMap.Check, StateLayout.CodePage);
            _code.Lea(RegisterMap.Check, RegisterMap.Check, (int)instruction.NextIP);
            FinishPush(operand, RegisterMap.Check);
            _code.LoadSlot(RegisterMap.Address, StateLayout.Operand);
        }

        EmitLookup();
    }

    private void EmitReturn(in Instruction instruction)
    {
        int extra = instruction.Code == Code.Retnq_imm16 ? instruction.Immediate16 : 0;
        HostOperand operand = EmitStackOperand(Popped);
        _code.LoadOperand(RegisterMap.Address, operand);
        _code.Lea(RegisterMap.GuestStack, RegisterMap.GuestStack, 8 + extra);
        EmitLookup();
    }

    /// <summary>Goes to the code of the linear address in <see cref="RegisterMap.Address"/>.</summary>
    private void EmitLookup() => _stubs.EmitBranch(ref _code, IsUser);

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
