using Iced.Intel;

namespace Doppel.Engines.Translator;

/// <summary>
/// Loops inside a block: a branch back to one of its own instructions jumps there, past the block's head. The page of the code is
/// known already, and what was not done is counted with what is about to be. Whoever wants the code gone or the vCPU elsewhere
/// signals an event, at which every way back looks.
/// </summary>
internal sealed unsafe partial class BlockTranslator
{
    private const int NoLoop = -1;

    // By position in the block: whether a way back leads to an instruction, where its code begins then, and where a branch goes back to.
    private readonly bool[] _isLoopHead = new bool[MaximumInstructions];
    private readonly nint[] _loopCode = new nint[MaximumInstructions];
    private readonly int[] _backTo = new int[MaximumInstructions];

    /// <summary>
    /// Finds the instructions to which the block branches back. With a budget each turn must be measured against it at the head of
    /// a block, the shadow of an STI lasts only on the straight way, and a branch in segmented code may leave its segment.
    /// </summary>
    private void FindLoops(ReadOnlySpan<Instruction> instructions)
    {
        ForgetLoops();
        if (_isCounted || IsSegmented)
            return;
        for (int i = 0; i < instructions.Length; i++)
        {
            if (instructions[i].Mnemonic == Mnemonic.Sti)
            {
                ForgetLoops();
                return;
            }

            if (!IsLoopBranch(instructions[i]))
                continue;
            for (int head = i; head >= 0; head--)
            {
                if ((long)instructions[head].IP != TargetOf(instructions[i]))
                    continue;
                _isLoopHead[head] = true;
                _backTo[i] = head;
                break;
            }
        }
    }

    private void ForgetLoops()
    {
        Array.Clear(_isLoopHead);
        Array.Fill(_backTo, NoLoop);
    }

    private static bool IsLoopBranch(in Instruction instruction) =>
        IsDirect(instruction) && instruction.FlowControl is FlowControl.ConditionalBranch or FlowControl.UnconditionalBranch && BranchSize(instruction) != 2;

    /// <summary>The code of the instruction at the current position begins here, where a way back may lead.</summary>
    private void BindLoopHead()
    {
        if (!_isLoopHead[_position])
            return;
        _loopCode[_position] = (nint)_code.Position;
        _loadedGroup = -1;
    }

    /// <summary>Branches back to an instruction of this block, if that is where the branch at the current position leads.</summary>
    private bool TryEmitLoop(long target)
    {
        int head = _backTo[_position];
        if (head == NoLoop)
            return false;
        _code.LoadSlot(RegisterMap.Check, StateLayout.EventMask);
        byte* busy = _code.JumpIfRcxZero();
        EmitRetire(_position + 1 - head);
        _code.JumpTo((byte*)_loopCode[head]);
        _code.Bind8(busy);
        if (Remaining != 1)
            EmitRetire(1 - Remaining);
        EmitEventExit((int)target);
        return true;
    }
}
