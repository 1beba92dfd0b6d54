using Doppel.Machine.Cpu;
using Iced.Intel;

namespace Doppel.Engines.Translator;

/// <summary>
/// Loads of DS, ES, FS and GS in real and virtual-8086 mode, which shift the selector into the base. SS, whose load holds
/// off interrupts, and descriptors are left to the interpreter.
/// </summary>
internal sealed unsafe partial class BlockTranslator
{
    // Present, data, writable, accessed.
    private const int RealRights = 0x93;
    private const int Virtual8086Rights = RealRights | (int)SegmentAttributes.DplMask;

    private static bool IsSegmentLoad(in Instruction instruction) =>
        instruction.Mnemonic is Mnemonic.Mov or Mnemonic.Pop && instruction.Op0Kind == OpKind.Register &&
        instruction.Op0Register is Register.DS or Register.ES or Register.FS or Register.GS;

    private bool CanTranslateSegmentLoad(in Instruction instruction) => CodeMode == TranslationVariant.Real && IsSegmentLoad(instruction);

    private void EmitSegmentLoad(in Instruction instruction)
    {
        Segment segment = SegmentOf(instruction.Op0Register);
        EmitRightsCheck(segment);
        if (instruction.Mnemonic == Mnemonic.Pop)
        {
            int size = StackAccess.SizeOf(instruction);
            HostOperand operand = EmitStackOperand(new AccessGroups.Access(4, 0, sizeof(ushort), IsWrite: false));
            _code.LoadSized(RegisterMap.Check, operand, sizeof(ushort));
            EmitMoveStack(RegisterMap.GuestStack, size);
        }
        else if (instruction.Op1Kind == OpKind.Memory)
        {
            EmitAddress(instruction, sizeof(ushort), isWrite: false);
            EmitTlbCheck(sizeof(ushort), isWrite: false);
            _code.LoadSized(RegisterMap.Check, HostOperand.Checked, sizeof(ushort));
        }
        else
        {
            _code.ZeroExtend16(RegisterMap.Check, RegisterMap.Home(Number(instruction.Op1Register)));
        }

        _code.Byte(0x66);
        _code.SlotForm(0x89, RegisterMap.Check, StateLayout.Selector(segment), wide: false);
        _code.Rorx(RegisterMap.Check, RegisterMap.Check, 60);
        _code.StoreSlot(SegmentSlots.Base(segment), RegisterMap.Check);
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
