using Doppel.Machine.Cpu.Interpreter.Handlers;
using Iced.Intel;

namespace Doppel.Machine.Cpu.Interpreter;

/// <summary>Arithmetic, logic, moves, bits and strings.</summary>
internal sealed unsafe partial class OpBuilder
{
    private static bool SelectInteger(in Instruction instruction, DecodedOp* op, bool is64) =>
        SelectArithmetic(instruction, op) || SelectMoves(instruction, op, is64) || SelectBits(instruction, op) || SelectStrings(instruction, op);

    private static bool SelectArithmetic(in Instruction instruction, DecodedOp* op)
    {
        switch (instruction.Mnemonic)
        {
            case Mnemonic.Add:
                AluHandlers.Select<AddOperation>(instruction, op);
                return true;
            case Mnemonic.Adc:
                AluHandlers.Select<AdcOperation>(instruction, op);
                return true;
            case Mnemonic.Sub:
                AluHandlers.Select<SubOperation>(instruction, op);
                return true;
            case Mnemonic.Sbb:
                AluHandlers.Select<SbbOperation>(instruction, op);
                return true;
            case Mnemonic.Cmp:
                AluHandlers.Select<CmpOperation>(instruction, op);
                return true;
            case Mnemonic.And:
                AluHandlers.Select<AndOperation>(instruction, op);
                return true;
            case Mnemonic.Or:
                AluHandlers.Select<OrOperation>(instruction, op);
                return true;
            case Mnemonic.Xor:
                AluHandlers.Select<XorOperation>(instruction, op);
                return true;
            case Mnemonic.Test:
                AluHandlers.Select<TestOperation>(instruction, op);
                return true;
            case Mnemonic.Inc:
                UnaryHandlers.Select<IncOperation>(instruction, op);
                return true;
            case Mnemonic.Dec:
                UnaryHandlers.Select<DecOperation>(instruction, op);
                return true;
            case Mnemonic.Neg:
                UnaryHandlers.Select<NegOperation>(instruction, op);
                return true;
            case Mnemonic.Not:
                UnaryHandlers.Select<NotOperation>(instruction, op);
                return true;
            case Mnemonic.Shl:
            case Mnemonic.Sal:
                ShiftHandlers.Select<ShlOperation>(instruction, op);
                return true;
            case Mnemonic.Shr:
                ShiftHandlers.Select<ShrOperation>(instruction, op);
                return true;
            case Mnemonic.Sar:
                ShiftHandlers.Select<SarOperation>(instruction, op);
                return true;
            case Mnemonic.Rol:
                ShiftHandlers.Select<RolOperation>(instruction, op);
                return true;
            case Mnemonic.Ror:
                ShiftHandlers.Select<RorOperation>(instruction, op);
                return true;
            case Mnemonic.Rcl:
                ShiftHandlers.Select<RclOperation>(instruction, op);
                return true;
            case Mnemonic.Rcr:
                ShiftHandlers.Select<RcrOperation>(instruction, op);
                return true;
            case Mnemonic.Shld:
                ShiftHandlers.SelectDouble(instruction, op, left: true);
                return true;
            case Mnemonic.Shrd:
                ShiftHandlers.SelectDouble(instruction, op, left: false);
                return true;
            case Mnemonic.Mul:
                MultiplyHandlers.SelectMul(instruction, op);
                return true;
            case Mnemonic.Imul:
                MultiplyHandlers.SelectImul(instruction, op);
                return true;
            case Mnemonic.Div:
                MultiplyHandlers.SelectDiv(instruction, op);
                return true;
            case Mnemonic.Idiv:
                MultiplyHandlers.SelectIdiv(instruction, op);
                return true;
            case Mnemonic.Daa:
                op->Handler = &MultiplyHandlers.Daa;
                return true;
            case Mnemonic.Das:
                op->Handler = &MultiplyHandlers.Das;
                return true;
            case Mnemonic.Aaa:
                op->Handler = &MultiplyHandlers.Aaa;
                return true;
            case Mnemonic.Aas:
                op->Handler = &MultiplyHandlers.Aas;
                return true;
            case Mnemonic.Aam:
                op->Handler = &MultiplyHandlers.Aam;
                return true;
            case Mnemonic.Aad:
                op->Handler = &MultiplyHandlers.Aad;
                return true;
            default:
                return false;
        }
    }

    private static bool SelectMoves(in Instruction instruction, DecodedOp* op, bool is64)
    {
        if (instruction.ConditionCode != ConditionCode.None && instruction.OpCount == 2 && instruction.Op0Kind == OpKind.Register && instruction.Op0Register.IsGPR())
        {
            ConditionHandlers.Select(instruction, op, ConditionHandlers.Use.Move);
            return true;
        }

        switch (instruction.Mnemonic)
        {
            case Mnemonic.Mov:
                return SelectMov(instruction, op);
            case Mnemonic.Movzx:
                MoveHandlers.SelectExtend(instruction, op, SourceSize(instruction), signed: false);
                return true;
            case Mnemonic.Movsx:
            case Mnemonic.Movsxd:
                MoveHandlers.SelectExtend(instruction, op, SourceSize(instruction), signed: true);
                return true;
            case Mnemonic.Lea:
                MoveHandlers.SelectLea(op);
                return true;
            case Mnemonic.Xchg:
                MoveHandlers.SelectXchg(instruction, op);
                return true;
            case Mnemonic.Bswap:
                MoveHandlers.SelectBswap(op);
                return true;
            case Mnemonic.Movbe:
                MoveHandlers.SelectMovbe(instruction, op);
                return true;
            case Mnemonic.Cbw:
                op->Handler = &MoveHandlers.Cbw;
                return true;
            case Mnemonic.Cwde:
                op->Handler = &MoveHandlers.Cwde;
                return true;
            case Mnemonic.Cdqe:
                op->Handler = &MoveHandlers.Cdqe;
                return true;
            case Mnemonic.Cwd:
                op->Handler = &MoveHandlers.Cwd;
                return true;
            case Mnemonic.Cdq:
                op->Handler = &MoveHandlers.Cdq;
                return true;
            case Mnemonic.Cqo:
                op->Handler = &MoveHandlers.Cqo;
                return true;
            case Mnemonic.Xlatb:
                // Iced gives AL as the index, which is a byte register; the handler adds it.
                op->Index = ZeroOffset;
                op->Handler = &MoveHandlers.Xlat;
                return true;
            case Mnemonic.Push:
                op->OperandSize = (byte)-instruction.StackPointerIncrement;
                op->Extra = SegmentOperand(instruction.Op0Register);
                StackHandlers.SelectPush(instruction, op, is64);
                return true;
            case Mnemonic.Pop:
                op->OperandSize = (byte)instruction.StackPointerIncrement;
                op->Extra = SegmentOperand(instruction.Op0Register);
                StackHandlers.SelectPop(instruction, op, is64);
                return true;
            case Mnemonic.Pusha:
            case Mnemonic.Pushad:
                op->OperandSize = instruction.Mnemonic == Mnemonic.Pusha ? (byte)2 : (byte)4;
                op->Handler = &StackHandlers.PushAll;
                return true;
            case Mnemonic.Popa:
            case Mnemonic.Popad:
                op->OperandSize = instruction.Mnemonic == Mnemonic.Popa ? (byte)2 : (byte)4;
                op->Handler = &StackHandlers.PopAll;
                return true;
            case Mnemonic.Pushf:
            case Mnemonic.Pushfd:
            case Mnemonic.Pushfq:
                op->OperandSize = (byte)-instruction.StackPointerIncrement;
                op->Handler = &StackHandlers.PushFlags;
                return true;
            case Mnemonic.Popf:
            case Mnemonic.Popfd:
            case Mnemonic.Popfq:
                op->OperandSize = (byte)instruction.StackPointerIncrement;
                op->Handler = &StackHandlers.PopFlags;
                return true;
            case Mnemonic.Enter:
                op->OperandSize = instruction.Code switch { Code.Enterw_imm16_imm8 => 2, Code.Enterd_imm16_imm8 => 4, _ => 8 };
                op->Immediate = instruction.Immediate16 | ((ulong)instruction.Immediate8_2nd << 16);
                op->Handler = &StackHandlers.Enter;
                return true;
            case Mnemonic.Leave:
                op->OperandSize = instruction.Code switch { Code.Leavew => 2, Code.Leaved => 4, _ => 8 };
                op->Handler = &StackHandlers.Leave;
                return true;
            default:
                return false;
        }
    }

    private static bool SelectMov(in Instruction instruction, DecodedOp* op)
    {
        if (instruction.Op0Kind == OpKind.Register && instruction.Op0Register.IsSegmentRegister())
        {
            op->Extra = SegmentOperand(instruction.Op0Register);
            op->Handler = instruction.Op1Kind == OpKind.Memory ? &SegmentHandlers.LoadFromMemory : &SegmentHandlers.LoadFromRegister;
            return true;
        }

        if (instruction.Op1Kind == OpKind.Register && instruction.Op1Register.IsSegmentRegister())
        {
            op->Extra = SegmentOperand(instruction.Op1Register);
            op->Handler = instruction.Op0Kind == OpKind.Memory ? &SegmentHandlers.StoreToMemory : &SegmentHandlers.StoreToRegister;
            return true;
        }

        Register first = instruction.Op0Kind == OpKind.Register ? instruction.Op0Register : Register.None;
        Register second = instruction.Op1Kind == OpKind.Register ? instruction.Op1Register : Register.None;
        if (IsSystemRegister(first) || IsSystemRegister(second))
            return false;
        MoveHandlers.SelectMov(instruction, op);
        return true;
    }

    private static bool IsSystemRegister(Register register) => register.IsCR() || register.IsDR() || register.IsTR();

    private static int SegmentOperand(Register register) => register.IsSegmentRegister() ? register - Register.ES : 0;

    private static int SourceSize(in Instruction instruction) =>
        instruction.Op1Kind == OpKind.Memory ? instruction.MemorySize.GetSize() : instruction.Op1Register.GetSize();

    private static bool SelectBits(in Instruction instruction, DecodedOp* op)
    {
        if (instruction.ConditionCode != ConditionCode.None && instruction.OpCount == 1 && instruction.FlowControl == FlowControl.Next)
        {
            ConditionHandlers.Select(instruction, op, ConditionHandlers.Use.Set);
            return true;
        }

        switch (instruction.Mnemonic)
        {
            case Mnemonic.Bt:
                BitHandlers.SelectBitTest(instruction, op, BitHandlers.BitAction.Test);
                return true;
            case Mnemonic.Bts:
                BitHandlers.SelectBitTest(instruction, op, BitHandlers.BitAction.Set);
                return true;
            case Mnemonic.Btr:
                BitHandlers.SelectBitTest(instruction, op, BitHandlers.BitAction.Reset);
                return true;
            case Mnemonic.Btc:
                BitHandlers.SelectBitTest(instruction, op, BitHandlers.BitAction.Complement);
                return true;
            case Mnemonic.Bsf:
                BitHandlers.SelectScan(instruction, op, reverse: false);
                return true;
            case Mnemonic.Bsr:
                BitHandlers.SelectScan(instruction, op, reverse: true);
                return true;
            case Mnemonic.Xadd:
                BitHandlers.SelectXadd(instruction, op);
                return true;
            case Mnemonic.Cmpxchg:
                BitHandlers.SelectCmpxchg(instruction, op);
                return true;
            case Mnemonic.Cmpxchg8b:
                op->Handler = &BitHandlers.Cmpxchg8b;
                return true;
            case Mnemonic.Cmpxchg16b:
                op->Handler = &BitHandlers.Cmpxchg16b;
                return true;
            default:
                return false;
        }
    }

    private static bool SelectStrings(in Instruction instruction, DecodedOp* op)
    {
        if (!instruction.IsStringInstruction)
            return false;
        // The first operand of OUTS is DX, which says nothing about the size of an element.
        op->OperandSize = (byte)instruction.MemorySize.GetSize();
        StringHandlers.Select(instruction, op);
        return true;
    }
}
