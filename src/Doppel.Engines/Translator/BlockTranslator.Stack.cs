using Doppel.Machine.Cpu.Mmu;
using Iced.Intel;

namespace Doppel.Engines.Translator;

/// <summary>PUSH, POP, LEAVE and the stack pointer, which is as wide as SS.B says outside 64-bit mode.</summary>
internal sealed unsafe partial class BlockTranslator
{
    private void EmitPush(in Instruction instruction)
    {
        HostRegister value = RegisterMap.Check;
        HostOperand operand;
        AccessGroups.Access access = StackAccess.Pushed(instruction);
        if (instruction.Op0Kind == OpKind.Memory)
        {
            // The operand is read before the stack is touched; it waits in the state.
            EmitAddress(instruction, access.Size, isWrite: false);
            EmitTlbCheck(access.Size, isWrite: false);
            _code.LoadSized(RegisterMap.Check, HostOperand.Checked, access.Size);
            _code.StoreSlot(StateLayout.Operand, RegisterMap.Check);
            operand = EmitPushCheck(access);
            _code.LoadSlot(RegisterMap.Check, StateLayout.Operand);
        }
        else
        {
            operand = EmitPushCheck(access);
            if (instruction.Op0Kind != OpKind.Register)
                _code.MoveImmediate(RegisterMap.Check, instruction.GetImmediate(0));
            else if (instruction.Op0Register.IsSegmentRegister())
                _code.LoadSlot16(RegisterMap.Check, StateLayout.Selector(SegmentOf(instruction.Op0Register)));
            else
                value = Reach(Number(instruction.Op0Register), RegisterMap.Check);
        }

        FinishPush(operand, access, value);
    }

    // Everything that an earlier access of the instruction has read is in the state by now: a miss begins again here.
    private HostOperand EmitPushCheck(in AccessGroups.Access access)
    {
        _instructionStart = _code.Position;
        return EmitStackOperand(access);
    }

    private void FinishPush(in HostOperand operand, in AccessGroups.Access access, HostRegister value)
    {
        _code.StoreSized(operand, value, access.Size);
        EmitMoveStack(RegisterMap.GuestStack, access.Displacement);
    }

    /// <summary>The stack pointer becomes a register and a distance; a narrow one keeps its upper bits.</summary>
    private void EmitMoveStack(HostRegister from, int distance)
    {
        if (IsStack16)
            _code.Lea16(RegisterMap.GuestStack, from, distance);
        else
            EmitLea(RegisterMap.GuestStack, from, distance);
    }

    private void EmitPop(in Instruction instruction)
    {
        int destination = Number(instruction.Op0Register);
        AccessGroups.Access access = StackAccess.Popped(instruction);
        HostOperand operand = EmitStackOperand(access);
        _code.LoadSized(RegisterMap.Check, operand, access.Size);
        EmitMoveStack(RegisterMap.GuestStack, access.Size);
        StoreSizedTo(destination, RegisterMap.Check, access.Size);
    }

    private void EmitLeaveFrame(in Instruction instruction)
    {
        AccessGroups.Access access = StackAccess.Popped(instruction) with { Base = 5 };
        HostOperand operand = EmitStackOperand(access);
        _code.LoadSized(RegisterMap.Check, operand, access.Size);
        EmitMoveStack(HostRegister.Rbp, access.Size);
        StoreSizedTo(5, RegisterMap.Check, access.Size);
    }

    private void EmitPushAll(int size)
    {
        EmitRegistersCheck(-8 * size, 8 * size, isWrite: true);
        for (int register = 0; register < 8; register++)
            _code.StoreSized(HostOperand.Checked with { Displacement = (7 - register) * size }, Reach(register, RegisterMap.Check), size);
        EmitMoveStack(RegisterMap.GuestStack, -8 * size);
    }

    private void EmitPopAll(int size)
    {
        EmitRegistersCheck(0, 8 * size, isWrite: false);
        for (int register = 0; register < 8; register++)
        {
            if (register == 4)
                continue;
            _code.LoadSized(RegisterMap.Check, HostOperand.Checked with { Displacement = (7 - register) * size }, size);
            StoreSizedTo(register, RegisterMap.Check, size);
        }

        EmitMoveStack(RegisterMap.GuestStack, 8 * size);
    }

    // All eight registers by one check. They are accessed one by one where a narrow stack pointer wraps between them, and where a
    // fault must name the first of them.
    private void EmitRegistersCheck(int distance, int length, bool isWrite)
    {
        EmitLea(RegisterMap.Address, RegisterMap.GuestStack, distance);
        if (IsStack16)
        {
            _code.ZeroExtend16(RegisterMap.Address, RegisterMap.Address);
            _code.Lea(RegisterMap.Check, RegisterMap.Address, length - 1);
            _code.Pext(RegisterMap.Check, RegisterMap.Check, SegmentSlots.AllButLow16);
            byte* isWhole = _code.JumpIfRcxZero();
            _ = EmitLeaveToInterpreter();
            _code.Bind8(isWhole);
        }

        EmitSegment(Register.SS, length, isWrite);
        _loadedGroup = -1;
        byte* miss = EmitTlbLookup(RegisterMap.Address, length, isWrite ? TlbLayout.WriteTag : TlbLayout.ReadTag);
        _cold.Add(new ColdExit((nint)miss, Interpreted, false));
    }

    // A 16-bit result leaves the rest of a register alone; others are extended already.
    private void StoreSizedTo(int guest, HostRegister value, int size)
    {
        if (size != 2)
            StoreTo(guest, value);
        else if (RegisterMap.IsDisplaced(guest))
            EmitStoreSlot16(guest, value);
        else
            _code.Move16(RegisterMap.Home(guest), value);
    }

    private void EmitStoreSlot16(int guest, HostRegister value)
    {
        _code.Byte(0x66);
        _code.SlotForm(0x89, value, StateLayout.Gpr + (sizeof(ulong) * guest), wide: false);
    }
}
