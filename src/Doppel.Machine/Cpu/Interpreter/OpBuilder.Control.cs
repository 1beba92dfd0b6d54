using Doppel.Machine.Cpu.Interpreter.Handlers;
using Iced.Intel;

namespace Doppel.Machine.Cpu.Interpreter;

/// <summary>Transfers of control.</summary>
internal sealed unsafe partial class OpBuilder
{
    private static bool SelectControl(in Instruction instruction, DecodedOp* op, bool is64)
    {
        if (instruction.IsJccShortOrNear)
        {
            ConditionHandlers.Select(instruction, op, ConditionHandlers.Use.Jump);
            return true;
        }

        switch (instruction.Mnemonic)
        {
            case Mnemonic.Jmp:
                SetIndirect(instruction, op);
                BranchHandlers.SelectJump(instruction, op);
                return true;
            case Mnemonic.Call:
                SetIndirect(instruction, op);
                BranchHandlers.SelectCall(instruction, op, is64);
                return true;
            case Mnemonic.Ret:
                op->OperandSize = instruction.Code switch
                {
                    Code.Retnw or Code.Retnw_imm16 => 2,
                    Code.Retnd or Code.Retnd_imm16 => 4,
                    _ => 8,
                };
                op->Handler = is64 && op->OperandSize == 8 ? &BranchHandlers.Return64 : &BranchHandlers.Return;
                return true;
            case Mnemonic.Retf:
                op->OperandSize = instruction.Code switch
                {
                    Code.Retfw or Code.Retfw_imm16 => 2,
                    Code.Retfd or Code.Retfd_imm16 => 4,
                    _ => 8,
                };
                op->Handler = &BranchHandlers.ReturnFar;
                return true;
            case Mnemonic.Iret:
            case Mnemonic.Iretd:
            case Mnemonic.Iretq:
                op->OperandSize = instruction.Mnemonic switch { Mnemonic.Iret => 2, Mnemonic.Iretd => 4, _ => 8 };
                op->Handler = &BranchHandlers.InterruptReturn;
                return true;
            case Mnemonic.Loop:
            case Mnemonic.Loope:
            case Mnemonic.Loopne:
                op->AddressSize = (byte)CountSize(instruction);
                op->Extra = instruction.Mnemonic switch { Mnemonic.Loope => 1, Mnemonic.Loopne => 2, _ => 0 };
                op->Handler = &BranchHandlers.Loop;
                return true;
            case Mnemonic.Jcxz:
            case Mnemonic.Jecxz:
            case Mnemonic.Jrcxz:
                op->AddressSize = instruction.Mnemonic switch { Mnemonic.Jcxz => 2, Mnemonic.Jecxz => 4, _ => 8 };
                op->Handler = &BranchHandlers.JumpIfCountZero;
                return true;
            case Mnemonic.Int:
                op->Handler = &BranchHandlers.Int;
                return true;
            case Mnemonic.Int3:
                op->Handler = &BranchHandlers.Int3;
                return true;
            case Mnemonic.Int1:
                op->Handler = &BranchHandlers.Int1;
                return true;
            case Mnemonic.Into:
                op->Handler = &BranchHandlers.Into;
                return true;
            default:
                return false;
        }
    }

    // Extra tells a memory operand from a register; a far pointer's operand size is that of its offset.
    private static void SetIndirect(in Instruction instruction, DecodedOp* op)
    {
        op->Extra = instruction.Op0Kind == OpKind.Memory ? 1 : 0;
        if (instruction.Op0Kind == OpKind.Memory)
        {
            op->OperandSize = instruction.MemorySize switch
            {
                MemorySize.SegPtr16 => 2,
                MemorySize.SegPtr32 => 4,
                MemorySize.SegPtr64 => 8,
                _ => op->OperandSize,
            };
        }
    }

    private static int CountSize(in Instruction instruction) => instruction.Code switch
    {
        Code.Loop_rel8_16_CX or Code.Loop_rel8_32_CX or Code.Loope_rel8_16_CX or Code.Loope_rel8_32_CX or Code.Loopne_rel8_16_CX or Code.Loopne_rel8_32_CX => 2,
        Code.Loop_rel8_16_RCX or Code.Loop_rel8_64_RCX or Code.Loope_rel8_16_RCX or Code.Loope_rel8_64_RCX or Code.Loopne_rel8_16_RCX or Code.Loopne_rel8_64_RCX => 8,
        _ => 4,
    };
}
