using Iced.Intel;

namespace Doppel.Engines.Translator;

/// <summary>Which instructions are translated; all others are interpreted.</summary>
internal sealed unsafe partial class BlockTranslator
{
    private static bool CanTranslate(in Instruction instruction, byte* bytes, bool nativeVectors)
    {
        if (Uses32BitAddress(instruction))
            return false;
        if (instruction.Mnemonic is Mnemonic.Bsf or Mnemonic.Bsr)
            return true;
        if (instruction.HasRepPrefix || instruction.HasRepnePrefix)
            return IsVector(instruction) && nativeVectors && CanCopyVector(instruction);
        return instruction.Mnemonic switch
        {
            Mnemonic.Mov => CanTranslateMov(instruction),
            Mnemonic.Add or Mnemonic.Adc or Mnemonic.Sub or Mnemonic.Sbb or Mnemonic.Cmp or Mnemonic.And or Mnemonic.Or or
            Mnemonic.Xor or Mnemonic.Test or Mnemonic.Inc or Mnemonic.Dec or Mnemonic.Neg or Mnemonic.Not or Mnemonic.Movzx or
            Mnemonic.Movsx or Mnemonic.Movsxd or Mnemonic.Lea or Mnemonic.Bswap or Mnemonic.Shl or Mnemonic.Shr or
            Mnemonic.Sar or Mnemonic.Rol or Mnemonic.Ror or Mnemonic.Rcl or Mnemonic.Rcr or Mnemonic.Imul or Mnemonic.Mul or
            Mnemonic.Bsf or Mnemonic.Bsr or Mnemonic.Tzcnt or Mnemonic.Lzcnt or Mnemonic.Popcnt or Mnemonic.Movbe or
            Mnemonic.Xadd or Mnemonic.Cmpxchg or Mnemonic.Shld or Mnemonic.Shrd or Mnemonic.Cbw or Mnemonic.Cwde or
            Mnemonic.Cdqe or Mnemonic.Cwd or Mnemonic.Cdq or Mnemonic.Cqo or Mnemonic.Clc or Mnemonic.Stc or Mnemonic.Cmc or
            Mnemonic.Lahf or Mnemonic.Sahf or Mnemonic.Crc32 or Mnemonic.Xchg => true,
            Mnemonic.Andn or Mnemonic.Bextr or Mnemonic.Blsi or Mnemonic.Blsmsk or Mnemonic.Blsr or Mnemonic.Bzhi or
            Mnemonic.Pdep or Mnemonic.Pext or Mnemonic.Rorx or Mnemonic.Sarx or Mnemonic.Shlx or Mnemonic.Shrx or
            Mnemonic.Adcx or Mnemonic.Adox => true,
            Mnemonic.Bt or Mnemonic.Bts or Mnemonic.Btr or Mnemonic.Btc => !IsBitString(instruction) || instruction.MemorySize.GetSize() >= 4,
            Mnemonic.Div or Mnemonic.Idiv => CanTranslateDivide(instruction),
            Mnemonic.Cmpxchg16b or Mnemonic.Cmpxchg8b => true,
            Mnemonic.Nop or Mnemonic.Endbr64 or Mnemonic.Lfence or Mnemonic.Sfence or Mnemonic.Mfence or
            Mnemonic.Prefetcht0 or Mnemonic.Prefetcht1 or Mnemonic.Prefetcht2 or Mnemonic.Prefetchnta or Mnemonic.Prefetchw => true,
            // With REX.B processors take it for XCHG.
            Mnemonic.Pause => instruction.Length == 2,
            Mnemonic.Push => instruction.StackPointerIncrement == -8 && !IsSegment(instruction.Op0Register),
            Mnemonic.Pop => instruction.StackPointerIncrement == 8 && instruction.Op0Kind == OpKind.Register && !IsSegment(instruction.Op0Register),
            Mnemonic.Leave => instruction.Code == Code.Leaveq,
            Mnemonic.Jmp => instruction.Op0Kind is OpKind.NearBranch64 || (IsIndirect64(instruction) && instruction.FlowControl == FlowControl.IndirectBranch),
            Mnemonic.Call => instruction.Op0Kind is OpKind.NearBranch64 || (IsIndirect64(instruction) && instruction.FlowControl == FlowControl.IndirectCall),
            Mnemonic.Ret => instruction.Code is Code.Retnq or Code.Retnq_imm16,
            _ => CanTranslateRest(instruction, nativeVectors),
        };
    }

    private static bool CanTranslateRest(in Instruction instruction, bool nativeVectors)
    {
        if (instruction.IsJccShortOrNear)
            return instruction.Op0Kind == OpKind.NearBranch64;
        if (instruction.ConditionCode != ConditionCode.None && instruction.FlowControl == FlowControl.Next && instruction.OpCount is 1 or 2)
            return instruction.Op0Kind == OpKind.Memory || instruction.Op0Register.IsGPR();
        if (instruction.Mnemonic is Mnemonic.Vzeroupper or Mnemonic.Vzeroall)
            return nativeVectors;
        return nativeVectors && IsVector(instruction) && CanCopyVector(instruction);
    }

    private static bool CanTranslateMov(in Instruction instruction)
    {
        if (instruction.Op1Kind == OpKind.Register && instruction.Op1Register.IsSegmentRegister())
            return true;
        for (int i = 0; i < 2; i++)
        {
            if (instruction.GetOpKind(i) == OpKind.Register && !instruction.GetOpRegister(i).IsGPR())
                return false;
        }

        return true;
    }

    private static bool IsIndirect64(in Instruction instruction) =>
        instruction.Op0Kind == OpKind.Register ? instruction.Op0Register.IsGPR64() : instruction.MemorySize == MemorySize.QwordOffset;

    private static bool IsSegment(Register register) => register.IsSegmentRegister();

    private static bool Uses32BitAddress(in Instruction instruction)
    {
        for (int i = 0; i < instruction.OpCount; i++)
        {
            switch (instruction.GetOpKind(i))
            {
                case OpKind.Memory:
                    if (instruction.MemoryBase.IsGPR32() || instruction.MemoryIndex.IsGPR32() || instruction.MemoryBase == Register.EIP)
                        return true;
                    if (instruction.MemoryBase == Register.None && instruction.MemoryIndex == Register.None && instruction.MemoryDisplSize == 4 && instruction.MemoryDisplacement64 > int.MaxValue && instruction.MemoryDisplacement64 <= uint.MaxValue)
                        return true;
                    break;
                case >= OpKind.MemorySegSI and <= OpKind.MemoryESRDI:
                    return true;
            }
        }

        return false;
    }

    private static bool IsVector(in Instruction instruction)
    {
        for (int i = 0; i < instruction.OpCount; i++)
        {
            if (instruction.GetOpKind(i) == OpKind.Register && (instruction.GetOpRegister(i).IsXMM() || instruction.GetOpRegister(i).IsYMM()))
                return true;
        }

        return false;
    }

    private static bool CanCopyVector(in Instruction instruction)
    {
        if (instruction.Encoding is not (EncodingKind.Legacy or EncodingKind.VEX) || instruction.MemoryIndex.IsVectorRegister())
            return false;
        for (int i = 0; i < instruction.OpCount; i++)
        {
            if (instruction.GetOpKind(i) == OpKind.Register && instruction.GetOpRegister(i).IsMM())
                return false;
            if (instruction.GetOpKind(i) >= OpKind.MemorySegSI && instruction.GetOpKind(i) <= OpKind.MemoryESRDI)
                return false;
        }

        return instruction.Mnemonic is not (
            Mnemonic.Maskmovdqu or Mnemonic.Vmaskmovdqu or Mnemonic.Vmaskmovps or Mnemonic.Vmaskmovpd or Mnemonic.Vpmaskmovd or
            Mnemonic.Vpmaskmovq);
    }
}
