using Iced.Intel;

namespace Doppel.Engines.Translator;

/// <summary>What instructions that move the stack pointer by themselves access.</summary>
internal static class StackAccess
{
    // PUSH of a selector writes two bytes, whatever it moves the stack pointer by.
    private const int SelectorBytes = 2;

    /// <summary>Bytes that PUSH, POP, CALL, RET, LEAVE, PUSHF or POPF moves: 2, 4 or 8.</summary>
    internal static int SizeOf(in Instruction instruction)
    {
        switch (instruction.Code)
        {
            case Code.Retnw or Code.Retnw_imm16 or Code.Leavew:
                return 2;
            case Code.Retnd or Code.Retnd_imm16 or Code.Leaved:
                return 4;
            case Code.Retnq or Code.Retnq_imm16 or Code.Leaveq:
                return 8;
        }

        return Math.Abs(instruction.StackPointerIncrement);
    }

    /// <summary>The write of PUSH and CALL.</summary>
    internal static AccessGroups.Access Pushed(in Instruction instruction)
    {
        int size = SizeOf(instruction);
        bool isSelector = size == 4 && instruction.Op0Kind == OpKind.Register && instruction.Op0Register.IsSegmentRegister();
        return new AccessGroups.Access(4, -size, isSelector ? SelectorBytes : size, IsWrite: true);
    }

    /// <summary>The read of POP, RET and LEAVE, at the stack pointer (for LEAVE: at RBP).</summary>
    internal static AccessGroups.Access Popped(in Instruction instruction) => new(4, 0, SizeOf(instruction), IsWrite: false);
}
