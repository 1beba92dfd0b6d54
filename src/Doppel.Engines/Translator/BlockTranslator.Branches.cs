using Iced.Intel;

namespace Doppel.Engines.Translator;

/// <summary>Near branches, calls and returns, and the loops that count in RCX.</summary>
internal sealed unsafe partial class BlockTranslator
{
    private readonly List<ColdBranch> _coldBranches = [];

    /// <summary>A conditional branch whose taken side comes after the block.</summary>
    private readonly record struct ColdBranch(nint Site, Instruction Instruction, int Position);

    /// <summary>Bytes to which a near branch cuts its target: 2, 4 or 8.</summary>
    private static int BranchSize(in Instruction instruction) => instruction.Op0Kind switch
    {
        OpKind.NearBranch16 => 2,
        OpKind.NearBranch32 => 4,
        OpKind.NearBranch64 => 8,
        OpKind.Register => instruction.Op0Register.GetSize(),
        _ => instruction.MemorySize.GetSize(),
    };

    private static bool IsDirect(in Instruction instruction) => instruction.Op0Kind is OpKind.NearBranch16 or OpKind.NearBranch32 or OpKind.NearBranch64;

    /// <summary>The target of a direct branch as an offset in its page, which may lie outside. The decoder ran with such offsets.</summary>
    private static long TargetOf(in Instruction instruction) => instruction.Op0Kind switch
    {
        OpKind.NearBranch16 => (long)instruction.NextIP + (short)(instruction.NearBranch16 - instruction.NextIP),
        OpKind.NearBranch32 => (int)instruction.NearBranch32,
        _ => (long)instruction.NearBranch64,
    };

    /// <summary>LOOP and JCXZ with their kin.</summary>
    private static bool IsCountBranch(in Instruction instruction) => instruction.Mnemonic is
        Mnemonic.Loop or Mnemonic.Loope or Mnemonic.Loopne or Mnemonic.Jcxz or Mnemonic.Jecxz or Mnemonic.Jrcxz;

    /// <summary>A direct branch: inside the page it can be patched, outside it goes through the look-up.</summary>
    private void EmitBranch(long target, int size)
    {
        if (target is >= 0 and < 4096)
        {
            byte* busy = null;
            if (target <= _pageOffset && !_isCounted)
            {
                _code.LoadSlot(RegisterMap.Check, StateLayout.EventMask);
                busy = _code.JumpIfRcxZero();
            }

            byte* jump = _code.JumpPatchable();
            _cold.Add(new ColdExit((nint)jump, new ExitRecord { Kind = ExitKind.Branch, PageOffset = (int)target, PatchSite = (nint)jump }, false));
            if (busy != null)
            {
                _code.Bind8(busy);
                EmitEventExit((int)target);
            }

            return;
        }

        _code.LoadSlot(RegisterMap.Address, StateLayout.CodePage);
        EmitLea(RegisterMap.Address, RegisterMap.Address, (int)target);
        if (size == 2)
            _code.ZeroExtend16(RegisterMap.Address, RegisterMap.Address);
        EmitLookup();
    }

    private void EmitJump(in Instruction instruction)
    {
        if (!IsDirect(instruction))
        {
            EmitIndirect(instruction, isCall: false);
            return;
        }

        long target = TargetOf(instruction);
        int size = BranchSize(instruction);
        EmitTargetReach(target, size);
        if (!TryEmitLoop(target))
            EmitBranch(target, size);
    }

    private void EmitConditionalBranch(in Instruction instruction)
    {
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
        // Compilers lay the likely way straight: what branches forward goes out of line, so that going on takes no jump.
        if (TargetOf(instruction) is < 0 or >= 4096 || TargetOf(instruction) > _pageOffset)
        {
            _coldBranches.Add(new ColdBranch((nint)_code.JumpIf(condition), instruction, _position));
            return;
        }

        byte* notTaken = _code.JumpIf(condition ^ 1);
        EmitTaken(instruction);
        _code.Bind32(notTaken);
    }

    private void EmitColdBranches()
    {
        foreach (ColdBranch branch in _coldBranches)
        {
            _code.Bind32((byte*)branch.Site);
            _position = branch.Position;
            _pageOffset = (int)branch.Instruction.IP;
            EmitTaken(branch.Instruction);
        }

        _coldBranches.Clear();
    }

    // Skipped when the branch is not taken. The rest of the block was counted as retired and must be taken back.
    private void EmitTaken(in Instruction instruction)
    {
        long target = TargetOf(instruction);
        int size = BranchSize(instruction);
        EmitTargetReach(target, size);
        if (TryEmitLoop(target))
            return;
        int notRetired = Remaining - 1;
        if (notRetired != 0)
            EmitRetire(-notRetired);
        EmitBranch(target, size);
    }

    // Bytes of the counter.
    private static int CountSize(in Instruction instruction) => instruction.Code switch
    {
        Code.Loop_rel8_16_CX or Code.Loop_rel8_32_CX or Code.Loope_rel8_16_CX or Code.Loope_rel8_32_CX or
        Code.Loopne_rel8_16_CX or Code.Loopne_rel8_32_CX or Code.Jcxz_rel8_16 or Code.Jcxz_rel8_32 => 2,
        Code.Loop_rel8_16_RCX or Code.Loop_rel8_64_RCX or Code.Loope_rel8_16_RCX or Code.Loope_rel8_64_RCX or
        Code.Loopne_rel8_16_RCX or Code.Loopne_rel8_64_RCX or Code.Jrcxz_rel8_16 or Code.Jrcxz_rel8_64 => 8,
        _ => 4,
    };

    private void EmitCountBranch(in Instruction instruction)
    {
        int size = CountSize(instruction);
        bool loops = instruction.Mnemonic is Mnemonic.Loop or Mnemonic.Loope or Mnemonic.Loopne;
        HostRegister counter = RegisterMap.GuestCounter;
        if (loops)
            EmitTargetReach(TargetOf(instruction), BranchSize(instruction));
        int change = loops ? -1 : 0;
        if (size == 8)
            _code.Lea(RegisterMap.Check, counter, change);
        else
            _code.Lea32(RegisterMap.Check, counter, change);
        if (size == 2)
            _code.ZeroExtend16(RegisterMap.Check, RegisterMap.Check);
        if (loops)
            StoreSizedTo(1, RegisterMap.Check, size);
        byte* isZero = _code.JumpIfRcxZero();
        if (!loops)
        {
            byte* goesOn = _code.Jump();
            _code.Bind8(isZero);
            EmitTaken(instruction);
            _code.Bind32(goesOn);
            return;
        }

        // The condition of LOOPE and LOOPNE: ZF set or clear.
        byte* loopsOn = instruction.Mnemonic == Mnemonic.Loop ? _code.Jump() : _code.JumpIf(instruction.Mnemonic == Mnemonic.Loope ? 4 : 5);
        _code.Bind8(isZero);
        byte* ends = _code.Jump();
        _code.Bind32(loopsOn);
        EmitTaken(instruction);
        _code.Bind32(ends);
    }

    private void EmitCall(in Instruction instruction)
    {
        if (!IsDirect(instruction))
        {
            EmitIndirect(instruction, isCall: true);
            return;
        }

        long target = TargetOf(instruction);
        int size = BranchSize(instruction);
        EmitTargetReach(target, size);
        EmitPushNext(instruction);
        EmitBranch(target, size);
    }

    private void EmitPushNext(in Instruction instruction)
    {
        AccessGroups.Access access = StackAccess.Pushed(instruction);
        HostOperand operand = EmitPushCheck(access);
        _code.LoadSlot(RegisterMap.Check, StateLayout.CodePage);
        EmitLea(RegisterMap.Check, RegisterMap.Check, (int)instruction.NextIP);
        FinishPush(operand, access, RegisterMap.Check);
    }

    private void EmitIndirect(in Instruction instruction, bool isCall)
    {
        int size = BranchSize(instruction);
        if (instruction.Op0Kind == OpKind.Memory)
        {
            EmitAddress(instruction, size, isWrite: false);
            EmitTlbCheck(size, isWrite: false);
            _code.LoadSized(RegisterMap.Address, HostOperand.Checked, size);
        }
        else
        {
            HostRegister register = Reach(Number(instruction.Op0Register), RegisterMap.Address);
            if (size == 8)
                _code.Move(RegisterMap.Address, register);
            else if (size == 4)
                _code.Move32(RegisterMap.Address, register);
            else
                _code.ZeroExtend16(RegisterMap.Address, register);
        }

        EmitIndirectReach(size);
        if (isCall)
        {
            _code.StoreSlot(StateLayout.Operand, RegisterMap.Address);
            EmitPushNext(instruction);
            _code.LoadSlot(RegisterMap.Address, StateLayout.Operand);
        }

        EmitLookup();
    }

    private void EmitReturn(in Instruction instruction)
    {
        AccessGroups.Access access = StackAccess.Popped(instruction);
        int extra = instruction.OpCount == 0 ? 0 : instruction.Immediate16;
        HostOperand operand = EmitStackOperand(access);
        _code.LoadSized(RegisterMap.Address, operand, access.Size);
        EmitIndirectReach(access.Size);
        EmitMoveStack(RegisterMap.GuestStack, access.Size + extra);
        EmitLookup();
    }

    // A target of 16 bits is always inside CS: other code is not translated.
    private void EmitIndirectReach(int size)
    {
        if (IsSegmented && size != 2)
            EmitReach(SegmentSlots.CodeReach, RegisterMap.Address, 0);
    }

    /// <summary>Goes to the code at the offset in CS (which in 64-bit mode is the linear address) in <see cref="RegisterMap.Address"/>.</summary>
    private void EmitLookup() => _stubs.EmitBranch(ref _code, IsSegmented ? CodeSpace.Segmented : IsFlat32 ? CodeSpace.Flat32 : IsUser ? CodeSpace.User : CodeSpace.Kernel);
}
