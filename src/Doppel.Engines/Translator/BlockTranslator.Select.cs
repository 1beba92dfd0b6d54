using Iced.Intel;

namespace Doppel.Engines.Translator;

/// <summary>Which instructions are translated; all others are interpreted.</summary>
internal sealed unsafe partial class BlockTranslator
{
    private bool CanTranslate(in Instruction instruction, bool nativeVectors)
    {
        if (IsString(instruction))
            return CanTranslateString(instruction);
        if (Is64 ? Uses32BitAddress(instruction) : IsUnclearVex(instruction))
            return false;
        if (instruction.Mnemonic is Mnemonic.Bsf or Mnemonic.Bsr)
            return true;
        if (instruction.HasRepPrefix || instruction.HasRepnePrefix)
            return IsVector(instruction) && nativeVectors && CanCopyVector(instruction);
        return instruction.Mnemonic switch
        {
            Mnemonic.Mov => CanTranslateMov(instruction) || CanTranslateSegmentLoad(instruction),
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
            Mnemonic.Nop or Mnemonic.Endbr64 or Mnemonic.Endbr32 or Mnemonic.Lfence or Mnemonic.Sfence or Mnemonic.Mfence or
            Mnemonic.Prefetcht0 or Mnemonic.Prefetcht1 or Mnemonic.Prefetcht2 or Mnemonic.Prefetchnta or Mnemonic.Prefetchw => true,
            // With REX.B processors take it for XCHG.
            Mnemonic.Pause => instruction.Length == 2,
            Mnemonic.Push => Is64 ? instruction.StackPointerIncrement == -8 && !IsSegment(instruction.Op0Register) : true,
            Mnemonic.Pop => CanTranslatePop(instruction),
            Mnemonic.Leave => Is64 ? instruction.Code == Code.Leaveq : true,
            Mnemonic.Pusha or Mnemonic.Pushad or Mnemonic.Popa or Mnemonic.Popad => true,
            Mnemonic.Jmp or Mnemonic.Call => CanTranslateBranch(instruction),
            Mnemonic.Ret => Is64 ? instruction.Code is Code.Retnq or Code.Retnq_imm16 : IsWideEnough(StackAccess.SizeOf(instruction)),
            _ => CanTranslateRest(instruction, nativeVectors),
        };
    }

    private bool CanTranslatePop(in Instruction instruction)
    {
        if (instruction.Op0Kind != OpKind.Register)
            return false;
        if (IsSegment(instruction.Op0Register))
            return CanTranslateSegmentLoad(instruction);
        return !Is64 || instruction.StackPointerIncrement == 8;
    }

    private bool CanTranslateBranch(in Instruction instruction)
    {
        if (instruction.FlowControl is FlowControl.UnconditionalBranch or FlowControl.Call)
            return IsDirect(instruction) && IsWideEnough(BranchSize(instruction));
        if (instruction.FlowControl is not (FlowControl.IndirectBranch or FlowControl.IndirectCall))
            return false;
        return instruction.Op0Kind == OpKind.Register
            ? IsWideEnough(instruction.Op0Register.GetSize())
            : instruction.MemorySize is MemorySize.WordOffset or MemorySize.DwordOffset or MemorySize.QwordOffset && IsWideEnough(instruction.MemorySize.GetSize());
    }

    // 64-bit code has no other branches; in 32-bit code those that cut EIP to 16 bits are rare.
    private bool IsWideEnough(int branchSize) => branchSize >= NativeSize;

    // Outside 64-bit mode VEX.W means nothing where it would choose a general register or a length in EAX, an immediate names eight registers,
    // and VZEROALL clears eight; in real and virtual-8086 mode there is no VEX prefix.
    private bool IsUnclearVex(in Instruction instruction)
    {
        if (instruction.Encoding != EncodingKind.VEX)
            return false;
        if (CodeMode is TranslationVariant.Real or TranslationVariant.Segmented16Stack32)
            return true;
        if (instruction.Mnemonic is Mnemonic.Vmovd or Mnemonic.Vpinsrd or Mnemonic.Vpextrd or Mnemonic.Vcvtsi2sd or Mnemonic.Vcvtsi2ss or
            Mnemonic.Vpcmpestri or Mnemonic.Vpcmpestrm or Mnemonic.Vblendvps or Mnemonic.Vblendvpd or Mnemonic.Vpblendvb or Mnemonic.Vzeroall or Mnemonic.Vzeroupper)
            return true;
        for (int i = 0; i < instruction.OpCount; i++)
        {
            if (instruction.GetOpKind(i) == OpKind.Register && instruction.GetOpRegister(i).IsGPR())
                return true;
        }

        return false;
    }

    private bool CanTranslateRest(in Instruction instruction, bool nativeVectors)
    {
        if (instruction.IsJccShortOrNear || IsCountBranch(instruction))
            return IsWideEnough(BranchSize(instruction));
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
