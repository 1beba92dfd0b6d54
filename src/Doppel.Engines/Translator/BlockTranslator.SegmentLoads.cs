using Doppel.Machine.Cpu;
using Iced.Intel;

namespace Doppel.Engines.Translator;

/// <summary>
/// Loads of DS, ES, FS and GS: in real and virtual-8086 mode, where they shift the selector into the base, and in 32-bit
/// kernels with flat segments (<see cref="SegmentLoadStub"/>). SS, whose load holds off interrupts, is left to the
/// interpreter.
/// </summary>
internal sealed unsafe partial class BlockTranslator
{
    // Present, data, writable, accessed.
    private const int RealRights = 0x93;
    private const int Virtual8086Rights = RealRights | (int)SegmentAttributes.DplMask;

    private static bool IsSegmentLoad(in Instruction instruction) =>
        instruction.Mnemonic is Mnemonic.Mov or Mnemonic.Pop && instruction.Op0Kind == OpKind.Register &&
        instruction.Op0Register is Register.DS or Register.ES or Register.FS or Register.GS;

    private bool CanTranslateSegmentLoad(in Instruction instruction) =>
        IsSegmentLoad(instruction) && (CodeMode == TranslationVariant.Real || (IsFlat32 && !IsUser));

    private void EmitSegmentLoad(in Instruction instruction)
    {
        Segment segment = SegmentOf(instruction.Op0Register);
        if (!IsFlat32)
            EmitRightsCheck(segment);
        int popped = EmitSelector(instruction);
        if (IsFlat32)
        {
            _loadedGroup = -1;
            _code.Move32(RegisterMap.Address, RegisterMap.Check);
            EmitStubCall(_stubs.SegmentLoad.Entry(segment));
        }
        else
        {
            _code.Byte(0x66);
            _code.SlotForm(0x89, RegisterMap.Check, StateLayout.Selector(segment), wide: false);
            _code.Rorx(RegisterMap.Check, RegisterMap.Check, 60);
            _code.StoreSlot(SegmentSlots.Base(segment), RegisterMap.Check);
        }

        if (popped != 0)
            EmitMoveStack(RegisterMap.GuestStack, popped);
    }

    // The selector, zero-extended, into RCX. Returns by how much the stack pointer moves, once nothing can fail.
    private int EmitSelector(in Instruction instruction)
    {
        if (instruction.Mnemonic == Mnemonic.Pop)
        {
            HostOperand operand = EmitStackOperand(new AccessGroups.Access(4, 0, sizeof(ushort), IsWrite: false));
            _code.LoadSized(RegisterMap.Check, operand, sizeof(ushort));
            return StackAccess.SizeOf(instruction);
        }

        if (instruction.Op1Kind == OpKind.Memory)
        {
            EmitAddress(instruction, sizeof(ushort), isWrite: false);
            EmitTlbCheck(sizeof(ushort), isWrite: false);
            _code.LoadSized(RegisterMap.Check, HostOperand.Checked, sizeof(ushort));
        }
        else
        {
            _code.ZeroExtend16(RegisterMap.Check, RegisterMap.Home(Number(instruction.Op1Register)));
        }

        return 0;
    }

    // Rights that protected mode has left are replaced by the first load: the interpreter does that.
    private void EmitRightsCheck(Segment segment)
    {
        _code.LoadSlot32(RegisterMap.Check, SegmentSlots.Base(segment) + SystemSlots.Attributes);
        _code.Pext(RegisterMap.Check, RegisterMap.Check, SegmentSlots.RealRightsMask);
        _code.Lea(RegisterMap.Check, RegisterMap.Check, IsUser ? -Virtual8086Rights : -RealRights);
        byte* same = _code.JumpIfRcxZero();
        _ = EmitLeaveToInterpreter();
        _code.Bind8(same);
    }
}
