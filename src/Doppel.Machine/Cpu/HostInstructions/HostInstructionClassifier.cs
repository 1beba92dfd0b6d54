using Iced.Intel;

namespace Doppel.Machine.Cpu.HostInstructions;

/// <summary>
/// Knows which instructions run on the host's CPU, what each needs of the control registers, and which are done in C#
/// because their memory access or their control state is special.
/// </summary>
internal static class HostInstructionClassifier
{
    private const ulong XcrAvx = 6;

    /// <summary>True for an instruction that the executor takes, whether or not the guest's model offers it.</summary>
    internal static bool Handles(in Instruction instruction)
    {
        if (instruction.Code == Code.Wait)
            return true;
        if (instruction.Encoding is not (EncodingKind.Legacy or EncodingKind.VEX) || instruction.Code == Code.INVALID)
            return false;
        CpuidFeature[] features = instruction.CpuidFeatures;
        bool isX87 = Array.IndexOf(features, CpuidFeature.FPU) >= 0;
        foreach (CpuidFeature feature in features)
        {
            if (!IsSupported(feature) && !(isX87 && feature == CpuidFeature.CMOV))
                return false;
        }

        return true;
    }

    private static bool IsSupported(CpuidFeature feature) => feature switch
    {
        CpuidFeature.FPU or CpuidFeature.FPU287 or CpuidFeature.FPU387 or CpuidFeature.MMX => true,
        CpuidFeature.SSE or CpuidFeature.SSE2 or CpuidFeature.SSE3 or CpuidFeature.SSSE3 => true,
        CpuidFeature.SSE4_1 or CpuidFeature.SSE4_2 or CpuidFeature.POPCNT or CpuidFeature.LZCNT => true,
        CpuidFeature.AVX or CpuidFeature.AVX2 or CpuidFeature.FMA or CpuidFeature.F16C => true,
        CpuidFeature.BMI1 or CpuidFeature.BMI2 or CpuidFeature.ADX => true,
        CpuidFeature.AES or CpuidFeature.PCLMULQDQ or CpuidFeature.SHA or CpuidFeature.GFNI => true,
        CpuidFeature.VAES or CpuidFeature.VPCLMULQDQ or CpuidFeature.AVX_VNNI => true,
        CpuidFeature.CLFSH or CpuidFeature.CLFLUSHOPT or CpuidFeature.CLWB or CpuidFeature.PREFETCHW => true,
        _ => false,
    };

    /// <summary>Fills in everything but the stub.</summary>
    internal static void Classify(PreparedHostInstruction prepared)
    {
        Instruction instruction = prepared.Instruction;
        ClassifyMemory(prepared, instruction);
        bool hasVector = false;
        bool isMmx = instruction.Mnemonic is Mnemonic.Emms or Mnemonic.Cvtpi2ps or Mnemonic.Cvtpi2pd;
        for (int i = 0; i < instruction.OpCount; i++)
        {
            if (instruction.GetOpKind(i) != OpKind.Register)
                continue;
            Register register = instruction.GetOpRegister(i);
            isMmx |= register.IsMM();
            hasVector |= register.IsXMM() || register.IsYMM();
        }

        hasVector |= instruction.Mnemonic is Mnemonic.Vzeroupper or Mnemonic.Vzeroall or Mnemonic.Ldmxcsr or Mnemonic.Stmxcsr
            or Mnemonic.Vldmxcsr or Mnemonic.Vstmxcsr;
        bool isX87 = Array.IndexOf(instruction.CpuidFeatures, CpuidFeature.FPU) >= 0
            || Array.IndexOf(instruction.CpuidFeatures, CpuidFeature.FPU387) >= 0
            || Array.IndexOf(instruction.CpuidFeatures, CpuidFeature.FPU287) >= 0;
        prepared.IsVex = instruction.Encoding == EncodingKind.VEX;
        prepared.IsMmx = isMmx;
        // A conversion from memory to a general or MMX register names no vector register and yet needs SSE.
        prepared.UsesMxcsr = ObeysMxcsr(instruction.Mnemonic);
        hasVector |= prepared.UsesMxcsr;
        SetRequirements(prepared, instruction, isX87, isMmx, hasVector);
        prepared.Kind = SpecialKind(instruction) ?? (isX87 || isMmx
            ? Select(prepared, HostInstructionKind.X87, HostInstructionKind.X87Load, HostInstructionKind.X87Store)
            : Select(prepared, HostInstructionKind.Stub, HostInstructionKind.StubLoad, HostInstructionKind.StubStore));
        prepared.SetsPointers = isX87 && prepared.Kind is HostInstructionKind.X87 or HostInstructionKind.X87Load or HostInstructionKind.X87Store && !isMmx;
        prepared.NeedsInstructionPointer = prepared.SetsPointers;
        if (prepared.SetsPointers)
            prepared.Opcode = X87Opcode.Of(instruction);
        SetRegisters(prepared, instruction);
    }

    private static HostInstructionKind Select(
        PreparedHostInstruction prepared, HostInstructionKind none, HostInstructionKind load, HostInstructionKind store) =>
        prepared.WritesMemory ? store : prepared.ReadsMemory ? load : none;

    private static void ClassifyMemory(PreparedHostInstruction prepared, in Instruction instruction)
    {
        int operand = -1;
        for (int i = 0; i < instruction.OpCount; i++)
        {
            if (instruction.GetOpKind(i) is OpKind.Memory or OpKind.MemorySegRDI or OpKind.MemorySegEDI or OpKind.MemorySegDI)
                operand = i;
        }

        if (operand < 0)
            return;
        prepared.MemorySize = instruction.MemorySize.GetSize();
        prepared.IsStack = instruction.MemorySegment == Register.SS;
        OpAccess access = new InstructionInfoFactory().GetInfo(instruction).GetOpAccess(operand);
        prepared.WritesMemory = access is OpAccess.Write or OpAccess.CondWrite or OpAccess.ReadWrite or OpAccess.ReadCondWrite;
        prepared.ReadsMemory = access is OpAccess.Read or OpAccess.CondRead or OpAccess.ReadWrite or OpAccess.ReadCondWrite;
        prepared.AlignmentMask = RequiresAlignment(instruction, prepared.MemorySize) ? (ulong)prepared.MemorySize - 1 : 0;
    }

    // Intel SDM vol. 1, 14.9 (VEX) and vol. 2, 2.4 (exception types 1 and 2 against 4, 5 and the unaligned moves).
    private static bool RequiresAlignment(in Instruction instruction, int size)
    {
        if (instruction.Encoding == EncodingKind.VEX)
        {
            return instruction.Mnemonic is Mnemonic.Vmovaps or Mnemonic.Vmovapd or Mnemonic.Vmovdqa
                or Mnemonic.Vmovntps or Mnemonic.Vmovntpd or Mnemonic.Vmovntdq or Mnemonic.Vmovntdqa;
        }

        return size == 16 && instruction.Mnemonic is not (Mnemonic.Movups or Mnemonic.Movupd or Mnemonic.Movdqu or Mnemonic.Lddqu
            or Mnemonic.Maskmovdqu or Mnemonic.Pcmpestri or Mnemonic.Pcmpestrm or Mnemonic.Pcmpestri64 or Mnemonic.Pcmpestrm64
            or Mnemonic.Pcmpistri or Mnemonic.Pcmpistrm);
    }

    private static void SetRequirements(PreparedHostInstruction prepared, in Instruction instruction, bool isX87, bool isMmx, bool hasVector)
    {
        if (prepared.IsVex)
        {
            prepared.RequiredCr0 = Cr0.Pe;
            prepared.ForbiddenFlags = CpuFlags.Vm;
            if (!hasVector)
                return;
            prepared.RequiredCr4 = Cr4.Osxsave;
            prepared.RequiredXcr0 = XcrAvx;
            prepared.ForbiddenCr0 = Cr0.Ts;
        }
        else if (instruction.Code == Code.Wait)
        {
            // TS counts only together with MP: tested where WAIT is executed.
        }
        else if (isX87)
        {
            prepared.ForbiddenCr0 = Cr0.Em | Cr0.Ts;
        }
        else if (isMmx || hasVector)
        {
            prepared.ForbiddenCr0 = Cr0.Em | Cr0.Ts;
            prepared.EmulationIsInvalid = true;
            if (hasVector)
                prepared.RequiredCr4 = Cr4.Osfxsr;
        }
    }

    private static HostInstructionKind? SpecialKind(in Instruction instruction)
    {
        bool loads = instruction.Op1Kind == OpKind.Memory;
        bool stores = instruction.Op0Kind == OpKind.Memory;
        switch (instruction.Mnemonic)
        {
            case Mnemonic.Movups or Mnemonic.Movupd or Mnemonic.Movaps or Mnemonic.Movapd or Mnemonic.Movdqu or Mnemonic.Movdqa
                or Mnemonic.Lddqu or Mnemonic.Movntdqa or Mnemonic.Movntps or Mnemonic.Movntpd or Mnemonic.Movntdq
                or Mnemonic.Vmovups or Mnemonic.Vmovupd or Mnemonic.Vmovaps or Mnemonic.Vmovapd or Mnemonic.Vmovdqu or Mnemonic.Vmovdqa
                or Mnemonic.Vlddqu or Mnemonic.Vmovntdqa or Mnemonic.Vmovntps or Mnemonic.Vmovntpd or Mnemonic.Vmovntdq:
                bool isWide = instruction.Op0Register.IsYMM() || instruction.Op1Register.IsYMM();
                if (loads)
                    return isWide ? HostInstructionKind.Load256 : HostInstructionKind.Load128;
                if (stores)
                    return isWide ? HostInstructionKind.Store256 : HostInstructionKind.Store128;
                return isWide ? HostInstructionKind.Move256 : HostInstructionKind.Move128;
            case Mnemonic.Pxor or Mnemonic.Xorps or Mnemonic.Xorpd when instruction.Op0Register == instruction.Op1Register && instruction.Op0Register.IsXMM():
                return HostInstructionKind.Zero;
            case Mnemonic.Vpxor or Mnemonic.Vxorps or Mnemonic.Vxorpd when instruction.Op2Kind == OpKind.Register && instruction.Op1Register == instruction.Op2Register:
                return HostInstructionKind.Zero;
            case Mnemonic.Movnti:
                return HostInstructionKind.StoreGpr;
            case Mnemonic.Prefetchnta or Mnemonic.Prefetcht0 or Mnemonic.Prefetcht1 or Mnemonic.Prefetcht2 or Mnemonic.Prefetch or Mnemonic.Prefetchw:
                return HostInstructionKind.NoOperation;
            case Mnemonic.Mfence or Mnemonic.Lfence or Mnemonic.Sfence:
                return HostInstructionKind.Fence;
            case Mnemonic.Clflush or Mnemonic.Clflushopt or Mnemonic.Clwb:
                return HostInstructionKind.CacheLine;
            case Mnemonic.Maskmovq or Mnemonic.Maskmovdqu or Mnemonic.Vmaskmovdqu:
                return HostInstructionKind.MaskedBytes;
            case Mnemonic.Vmaskmovps or Mnemonic.Vmaskmovpd or Mnemonic.Vpmaskmovd or Mnemonic.Vpmaskmovq:
                return stores ? HostInstructionKind.MaskedStore : HostInstructionKind.MaskedLoad;
            case Mnemonic.Vgatherdps or Mnemonic.Vgatherdpd or Mnemonic.Vgatherqps or Mnemonic.Vgatherqpd
                or Mnemonic.Vpgatherdd or Mnemonic.Vpgatherdq or Mnemonic.Vpgatherqd or Mnemonic.Vpgatherqq:
                return HostInstructionKind.Gather;
            default:
                return ShortMove(instruction, loads, stores) ?? ControlKind(instruction.Mnemonic, instruction);
        }
    }

    private static HostInstructionKind? ShortMove(in Instruction instruction, bool loads, bool stores)
    {
        switch (instruction.Mnemonic)
        {
            case Mnemonic.Movd or Mnemonic.Vmovd or Mnemonic.Movss or Mnemonic.Vmovss:
                if (loads && instruction.Op0Register.IsXMM())
                    return instruction.MemorySize.GetSize() == 8 ? HostInstructionKind.Load64 : HostInstructionKind.Load32;
                if (stores && instruction.Op1Register.IsXMM())
                    return instruction.MemorySize.GetSize() == 8 ? HostInstructionKind.Store64 : HostInstructionKind.Store32;
                return null;
            case Mnemonic.Movq or Mnemonic.Vmovq or Mnemonic.Movsd or Mnemonic.Vmovsd:
                if (loads && instruction.Op0Register.IsXMM())
                    return HostInstructionKind.Load64;
                return stores && instruction.Op1Register.IsXMM() ? HostInstructionKind.Store64 : null;
            case Mnemonic.Movlps or Mnemonic.Movlpd or Mnemonic.Vmovlps or Mnemonic.Vmovlpd:
                return stores ? HostInstructionKind.Store64 : null;
            default:
                return null;
        }
    }

    private static HostInstructionKind? ControlKind(Mnemonic mnemonic, in Instruction instruction) => mnemonic switch
    {
        Mnemonic.Ldmxcsr or Mnemonic.Vldmxcsr => HostInstructionKind.LoadMxcsr,
        Mnemonic.Stmxcsr or Mnemonic.Vstmxcsr => HostInstructionKind.StoreMxcsr,
        Mnemonic.Vzeroupper => HostInstructionKind.ZeroUpper,
        Mnemonic.Vzeroall => HostInstructionKind.ZeroAll,
        Mnemonic.Fnstcw => HostInstructionKind.StoreControlWord,
        Mnemonic.Fldcw => HostInstructionKind.LoadControlWord,
        Mnemonic.Fnstsw => instruction.Op0Kind == OpKind.Memory ? HostInstructionKind.StoreStatusWord : HostInstructionKind.StatusWordToAx,
        Mnemonic.Fninit => HostInstructionKind.InitializeX87,
        Mnemonic.Fnclex => HostInstructionKind.ClearExceptions,
        Mnemonic.Wait => HostInstructionKind.Wait,
        Mnemonic.Fnstenv => HostInstructionKind.StoreEnvironment,
        Mnemonic.Fldenv => HostInstructionKind.LoadEnvironment,
        Mnemonic.Fnsave => HostInstructionKind.SaveX87,
        Mnemonic.Frstor => HostInstructionKind.RestoreX87,
        Mnemonic.Emms => HostInstructionKind.EmptyMmx,
        Mnemonic.Fneni or Mnemonic.Fndisi or Mnemonic.Fnsetpm => HostInstructionKind.LegacyX87,
        _ => null,
    };

    private static void SetRegisters(PreparedHostInstruction prepared, in Instruction instruction)
    {
        prepared.Register0 = Number(instruction, 0);
        prepared.Register1 = Number(instruction, 1);
        prepared.Register2 = Number(instruction, 2);
        if (prepared.Kind is not (HostInstructionKind.MaskedLoad or HostInstructionKind.MaskedStore or HostInstructionKind.Gather or HostInstructionKind.MaskedBytes))
            return;
        prepared.VectorSize = prepared.Kind == HostInstructionKind.MaskedBytes && prepared.IsMmx ? 8 : 16;
        for (int i = 0; i < instruction.OpCount; i++)
        {
            if (instruction.GetOpKind(i) == OpKind.Register && instruction.GetOpRegister(i).IsYMM() && prepared.Kind != HostInstructionKind.Gather)
                prepared.VectorSize = 32;
        }

        prepared.ElementSize = instruction.Mnemonic switch
        {
            Mnemonic.Vmaskmovps or Mnemonic.Vpmaskmovd or Mnemonic.Vgatherdps or Mnemonic.Vgatherqps or Mnemonic.Vpgatherdd or Mnemonic.Vpgatherqd => 4,
            Mnemonic.Maskmovq or Mnemonic.Maskmovdqu or Mnemonic.Vmaskmovdqu => 1,
            _ => 8,
        };
    }

    private static int Number(in Instruction instruction, int operand)
    {
        if (operand >= instruction.OpCount || instruction.GetOpKind(operand) != OpKind.Register)
            return 0;
        Register register = instruction.GetOpRegister(operand);
        return register.IsGPR() ? register.GetFullRegister() - Register.RAX : register.GetNumber();
    }

    // The arithmetic, comparison and conversion of floating-point numbers; every P... instruction is integer.
    private static bool ObeysMxcsr(Mnemonic mnemonic)
    {
        if (mnemonic == Mnemonic.Mulx)
            return false;
        ReadOnlySpan<char> name = mnemonic.ToString();
        if (name[0] == 'V')
            name = name[1..];
        ReadOnlySpan<string> prefixes =
        [
            "add", "sub", "mul", "div", "sqrt", "min", "max", "cmp", "comi", "ucomi", "cvt", "round", "dpp", "hadd", "hsub",
            "fmadd", "fmsub", "fnm", "rcp", "rsqrt",
        ];
        foreach (string prefix in prefixes)
        {
            if (name.StartsWith(prefix, StringComparison.OrdinalIgnoreCase))
                return true;
        }

        return false;
    }
}
