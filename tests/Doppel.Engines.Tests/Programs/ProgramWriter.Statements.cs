using Iced.Intel;
using static Iced.Intel.AssemblerRegisters;

namespace Doppel.Engines.Tests.Programs;

/// <summary>Single instructions with what they need around them.</summary>
internal sealed partial class ProgramWriter
{
    private static readonly AssemblerRegister64[] Registers64 = [rax, rcx, rdx, rbx, rbp, rsi, rdi, r8, r9, r10, r11, r12, r13, r14, r15];
    private static readonly AssemblerRegister32[] Registers32 = [eax, ecx, edx, ebx, ebp, esi, edi, r8d, r9d, r10d, r11d, r12d, r13d, r14d, r15d];
    private static readonly string[] Operations = ["Add", "Or", "Adc", "Sbb", "And", "Sub", "Xor", "Cmp"];
    private static readonly string[] Shifts = ["Rol", "Ror", "Rcl", "Rcr", "Shl", "Shr", "Sar"];
    private static readonly string[] Unary = ["Inc", "Dec", "Neg", "Not"];
    private static readonly string[] Locked = ["Add", "Or", "And", "Sub", "Xor", "Xadd", "Cmpxchg", "Inc", "Dec", "Neg"];

    private static readonly Code[] VectorOperations =
    [
        Code.Paddd_xmm_xmmm128, Code.Psubw_xmm_xmmm128, Code.Pxor_xmm_xmmm128, Code.Pand_xmm_xmmm128, Code.Pcmpeqb_xmm_xmmm128,
        Code.Punpcklbw_xmm_xmmm128, Code.Pmaddwd_xmm_xmmm128, Code.Addpd_xmm_xmmm128, Code.Mulps_xmm_xmmm128, Code.Maxps_xmm_xmmm128,
    ];

    private static readonly Code[] VectorLoads = [Code.Movdqu_xmm_xmmm128, Code.Movaps_xmm_xmmm128, Code.Movups_xmm_xmmm128, Code.Movq_xmm_xmmm64, Code.Movd_xmm_rm32, Code.Movhps_xmm_m64];
    private static readonly Code[] VectorStores = [Code.Movdqu_xmmm128_xmm, Code.Movaps_xmmm128_xmm, Code.Movups_xmmm128_xmm, Code.Movq_xmmm64_xmm, Code.Movd_rm32_xmm, Code.Movhps_m64_xmm];

    private static AssemblerRegisterXMM Register128(int number) => new(Register.XMM0 + number);

    private AssemblerRegister64 General64() => Registers64[random.Next(Registers64.Length)];

    private AssemblerRegister32 General32() => Registers32[random.Next(Registers32.Length)];

    // A general register of a width but the stack pointer; of 8 bits also the high bytes.
    private Register General(int width)
    {
        Register full = General64();
        int number = full - Register.RAX;
        return width switch
        {
            8 => number < 4 ? Register.AL + number + (random.Next(4) == 0 ? 4 : 0) : Register.AL + number + 4,
            16 => Register.AX + number,
            32 => Register.EAX + number,
            _ => full,
        };
    }

    private int Width() => 8 << random.Next(4);

    private static Code Find(string name) => Enum.Parse<Code>(name);

    private void Add(in Instruction instruction)
    {
        // A high byte can't stand beside what needs a REX prefix.
        bool hasHigh = false, needsRex = false;
        for (int i = 0; i < instruction.OpCount; i++)
        {
            if (instruction.GetOpKind(i) == OpKind.Register)
            {
                Register register = instruction.GetOpRegister(i);
                hasHigh |= register is Register.AH or Register.CH or Register.DH or Register.BH;
                needsRex |= register.GetFullRegister() >= Register.R8 && register.IsGPR();
                needsRex |= register.IsGPR64() || register is Register.SPL or Register.BPL or Register.SIL or Register.DIL;
            }
        }

        needsRex |= instruction.MemoryBase >= Register.R8 && instruction.MemoryBase.IsGPR64();
        needsRex |= instruction.MemoryIndex >= Register.R8 && instruction.MemoryIndex.IsGPR64();
        if (hasHigh && needsRex)
            _a.nop();
        else
            _a.AddInstruction(instruction);
    }

    private void AddArithmetic()
    {
        int width = Width();
        string rm = $"rm{width}";
        switch (random.Next(12))
        {
            case < 4:
                string operation = Operations[random.Next(Operations.Length)];
                Add(Instruction.Create(Find($"{operation}_{rm}_r{width}"), General(width), General(width)));
                if (operation is "And" or "Or" or "Xor")
                    DefineFlags();
                break;
            case 4:
                operation = Operations[random.Next(Operations.Length)];
                Add(Instruction.Create(Find($"{operation}_{rm}_imm8"), General(width), random.Next(-128, 128)));
                if (operation is "And" or "Or" or "Xor")
                    DefineFlags();
                break;
            case 5:
                Add(Instruction.Create(Find($"{Shifts[random.Next(Shifts.Length)]}_{rm}_imm8"), General(width), random.Next(0, 64)));
                DefineShiftFlags();
                break;
            case 6:
                Add(Instruction.Create(Find($"{Shifts[random.Next(Shifts.Length)]}_{rm}_CL"), General(width), Register.CL));
                DefineShiftFlags();
                break;
            case 7:
                Add(Instruction.Create(Find($"{Unary[random.Next(Unary.Length)]}_{rm}"), General(width)));
                break;
            case 8:
                _a.lea(General64(), __[General64() + (General64() * (1 << random.Next(4))) + random.Next(-1000, 1000)]);
                break;
            case 9:
                _a.imul(General64(), General64());
                DefineFlags();
                break;
            case 10:
                _a.mov(General64(), Value());
                break;
            default:
                Add(random.Next(2) == 0
                    ? Instruction.Create(Code.Movsx_r32_rm8, General(32), General(8))
                    : Instruction.Create(Code.Movzx_r32_rm16, General(32), General(16)));
                break;
        }
    }

    // Counts above the operand's width are undefined for CF, too.
    private void DefineShiftFlags() => _a.AddInstruction(Instruction.Create(Code.Cmp_rm8_imm8, General(8), random.Next(-128, 128)));

    private void Compare()
    {
        int width = Width();
        if (random.Next(2) == 0)
            Add(Instruction.Create(Find($"Cmp_rm{width}_r{width}"), General(width), General(width)));
        else
            Add(Instruction.Create(Find($"Cmp_rm{width}_imm8"), General(width), random.Next(-4, 4)));
    }

    private void Branch(Label target)
    {
        _sites.Add(new Site(SiteKind.Condition, _a.Instructions.Count));
        Action<Label>[] branches =
        [
            _a.jo, _a.jno, _a.jb, _a.jae, _a.je, _a.jne, _a.jbe, _a.ja, _a.js, _a.jns, _a.jp, _a.jnp, _a.jl, _a.jge, _a.jle, _a.jg,
        ];
        branches[random.Next(16)](target);
    }

    private void ConditionalMove(AssemblerRegister64 to, AssemblerRegister64 from) =>
        _a.AddInstruction(Instruction.Create(Code.Cmovo_r64_rm64 + (3 * random.Next(16)), to, from));

    private void AddFlagsWork()
    {
        switch (random.Next(7))
        {
            case 0:
                Add(Instruction.Create(Code.Seto_rm8 + random.Next(16), General(8)));
                break;
            case 1:
                ConditionalMove(General64(), General64());
                break;
            case 2:
                // RF and the like are the same everywhere; the rest is compared.
                _a.pushfq();
                _a.pop(General64());
                break;
            case 3:
                _a.sahf();
                break;
            case 4:
                _a.lahf();
                break;
            case 5:
                Action[] carry = [_a.stc, _a.clc, _a.cmc];
                carry[random.Next(3)]();
                break;
            default:
                _a.AddInstruction(Instruction.Create(Code.Bt_rm64_imm8, General(64), random.Next(64)));
                DefineFlags();
                break;
        }
    }

    private void AddStackWork()
    {
        switch (random.Next(4))
        {
            case 0:
                _a.push(General64());
                _a.push(random.Next(int.MinValue, int.MaxValue));
                _a.pop(General64());
                _a.pop(General64());
                break;
            case 1:
                // A call that only wants to know where it is.
                Label next = _a.CreateLabel();
                _a.call(next);
                _a.Label(ref next);
                _a.pop(General64());
                break;
            case 2:
                _a.enter((short)(8 * random.Next(4)), 0);
                _a.mov(__qword_ptr[rbp], rbp);
                _a.leave();
                break;
            default:
                _a.push(__qword_ptr[ProgramLayout.Data + (ulong)random.Next(0x1FF0)]);
                _a.pop(__qword_ptr[ProgramLayout.Far + (ulong)random.Next(0x3FF0)]);
                break;
        }
    }

    private void AddTrap()
    {
        switch (random.Next(4))
        {
            case 0:
                _a.ud2();
                break;
            case 1:
                _a.int3();
                break;
            case 2:
                // Privileged: the program's end is one, too, but ends it.
                _a.cli();
                break;
            default:
                _a.mov(rax, 0x8000_0000_0000_0000 >> random.Next(16));
                _a.mov(rax, __qword_ptr[rax]);
                break;
        }
    }

    private void AddDivision()
    {
        int width = random.Next(2) == 0 ? 32 : 64;
        if (random.Next(4) != 0)
            _a.xor(edx, edx);
        if (random.Next(3) != 0)
        {
            Register divisor = General(width);
            Add(Instruction.Create(Find($"{(random.Next(2) == 0 ? "Div" : "Idiv")}_rm{width}"), divisor));
        }
        else
        {
            MemoryOperand operand = Operand(width / 8);
            Add(Instruction.Create(Find($"{(random.Next(3) == 0 ? "Mul" : "Div")}_rm{width}"), operand));
        }

        DefineShiftFlags();
    }

    private void AddString()
    {
        int shift = random.Next(4);
        ulong count = (ulong)random.Next(0, 200) >> shift;
        if (random.Next(20) == 0)
            count = (ulong)random.Next(3000);
        bool down = random.Next(5) == 0;
        _a.mov(rdi, Target(1));
        _a.mov(rsi, Target(1));
        _a.mov(rcx, count);
        if (down)
            _a.std();
        string suffix = "bwdq"[shift].ToString();
        string width = (8 << shift).ToString(System.Globalization.CultureInfo.InvariantCulture);
        string register = shift switch { 0 => "AL", 1 => "AX", 2 => "EAX", _ => "RAX" };
        string name = random.Next(5) switch
        {
            0 => $"Movs{suffix}_m{width}_m{width}",
            1 => $"Stos{suffix}_m{width}_{register}",
            2 => $"Lods{suffix}_{register}_m{width}",
            3 => $"Scas{suffix}_{register}_m{width}",
            _ => $"Cmps{suffix}_m{width}_m{width}",
        };
        bool compares = name.StartsWith("Scas", StringComparison.Ordinal) || name.StartsWith("Cmps", StringComparison.Ordinal);
        Instruction instruction = CreateString(Find(name), shift);
        if (compares && random.Next(2) == 0)
            instruction.HasRepnePrefix = true;
        else
            instruction.HasRepPrefix = random.Next(5) != 0;
        _a.AddInstruction(instruction);
        if (down)
            _a.cld();
    }

    private static Instruction CreateString(Code code, int shift)
    {
        Register accumulator = shift switch { 0 => Register.AL, 1 => Register.AX, 2 => Register.EAX, _ => Register.RAX };
        var instruction = new Instruction { Code = code };
        OpCodeInfo info = code.ToOpCode();
        for (int i = 0; i < info.OpCount; i++)
        {
            switch (info.GetOpKind(i))
            {
                case OpCodeOperandKind.es_rDI:
                    instruction.SetOpKind(i, OpKind.MemoryESRDI);
                    break;
                case OpCodeOperandKind.seg_rSI:
                    instruction.SetOpKind(i, OpKind.MemorySegRSI);
                    break;
                default:
                    instruction.SetOpKind(i, OpKind.Register);
                    instruction.SetOpRegister(i, accumulator);
                    break;
            }
        }

        return instruction;
    }

    private void AddVector()
    {
        Register register = Register.XMM0 + random.Next(16);
        switch (random.Next(4))
        {
            case 0:
                _a.AddInstruction(Instruction.Create(VectorOperations[random.Next(VectorOperations.Length)], register, Register.XMM0 + random.Next(16)));
                break;
            case 1:
                _a.AddInstruction(Instruction.Create(VectorOperations[random.Next(VectorOperations.Length)], register, Operand(16)));
                break;
            case 2:
                Code load = VectorLoads[random.Next(VectorLoads.Length)];
                _a.AddInstruction(Instruction.Create(load, register, Operand(16)));
                break;
            default:
                _a.AddInstruction(Instruction.Create(VectorStores[random.Next(VectorStores.Length)], Operand(16), register));
                break;
        }
    }

    private void AddMemoryAccess()
    {
        int width = Width();
        MemoryOperand operand = Operand(width / 8);
        string rm = $"rm{width}", r = $"r{width}";
        switch (random.Next(14))
        {
            case < 3:
                Add(Instruction.Create(Find($"Mov_{r}_{rm}"), General(width), operand));
                break;
            case < 6:
                Add(Instruction.Create(Find($"Mov_{rm}_{r}"), operand, General(width)));
                break;
            case 6:
                Add(Instruction.Create(Find($"Mov_{rm}_imm{Math.Min(width, 32)}"), operand, random.Next(-128, 128)));
                break;
            case 7:
                string operation = Operations[random.Next(Operations.Length)];
                Add(Instruction.Create(Find($"{operation}_{r}_{rm}"), General(width), operand));
                DefineFlags();
                break;
            case 8:
                operation = Operations[random.Next(Operations.Length)];
                Add(Instruction.Create(Find($"{operation}_{rm}_{r}"), operand, General(width)));
                DefineFlags();
                break;
            case 9:
                Add(Instruction.Create(Find($"{Unary[random.Next(Unary.Length)]}_{rm}"), operand));
                break;
            case 10:
                AddLocked(width, operand);
                break;
            case 11:
                Add(Instruction.Create(Find($"Xchg_{rm}_{r}"), operand, General(width)));
                break;
            case 12:
                Add(Instruction.Create(Find($"{Shifts[random.Next(Shifts.Length)]}_{rm}_imm8"), operand, random.Next(0, 64)));
                DefineShiftFlags();
                break;
            default:
                Add(random.Next(3) switch
                {
                    0 => Instruction.Create(Code.Movzx_r32_rm8, General(32), operand),
                    1 => Instruction.Create(Code.Movsxd_r64_rm32, General(64), operand),
                    _ => Instruction.Create(Code.Cmovo_r64_rm64 + (3 * random.Next(16)), General(64), operand),
                });
                break;
        }
    }

    private void AddLocked(int width, MemoryOperand operand)
    {
        string operation = Locked[random.Next(Locked.Length)];
        Instruction instruction = operation is "Inc" or "Dec" or "Neg"
            ? Instruction.Create(Find($"{operation}_rm{width}"), operand)
            : Instruction.Create(Find($"{operation}_rm{width}_r{width}"), operand, General(width));
        instruction.HasLockPrefix = random.Next(3) != 0;
        Add(instruction);
        DefineFlags();
    }

    /// <summary>Prepares an address and returns an operand at it; the next instruction must be the access.</summary>
    private MemoryOperand Operand(int size)
    {
        AssemblerRegister64 @base = General64();
        if (random.Next(5) < 2)
        {
            // Where it lies depends on what the program has computed.
            bool everywhere = random.Next(8) == 0;
            bool far = !everywhere && random.Next(2) == 0;
            _a.and(@base, everywhere ? 0x7FFF : far ? 0x3FF0 : 0x1FE8);
            DefineFlags();
            int displacement = (int)(far ? ProgramLayout.Far : ProgramLayout.Data) + (far || everywhere ? 0 : random.Next(0x10));
            return new MemoryOperand(@base, displacement, 8);
        }

        ulong target = Target(size);
        if (target <= int.MaxValue && random.Next(4) == 0)
            return new MemoryOperand(Register.None, Register.None, 1, (long)target, 8, false, Register.None);
        int offset = random.Next(3) switch { 0 => 0, 1 => random.Next(-128, 128), _ => random.Next(-100000, 100000) };
        if (random.Next(3) != 0)
        {
            _a.mov(@base, target - (ulong)offset);
            return new MemoryOperand(@base, offset, offset == 0 ? 0 : 8);
        }

        AssemblerRegister64 index = General64();
        while ((Register)index == @base)
            index = General64();
        int scale = 1 << random.Next(4);
        long value = random.Next(-3000, 3000);
        _a.mov(index, value);
        _a.mov(@base, target - (ulong)offset - (ulong)(value * scale));
        return new MemoryOperand(@base, index, scale, offset, offset == 0 ? 0 : 8, false, Register.None);
    }

    private ulong Target(int size) => random.Next(24) switch
    {
        // The edge of a page, to absent, read-only and other writable ones; any place; beyond canonical addresses.
        // (Linux reports a fault in the last page below them as if it were present.)
        0 => ProgramLayout.Data + (ProgramLayout.PageSize * (ulong)random.Next(1, 8)) - (ulong)random.Next(0, 16),
        1 => ProgramLayout.Data + (ulong)random.Next(ProgramLayout.DataSize - size),
        2 => 0x8000_0000_0000 + (ulong)random.Next(16),
        < 5 => ProgramLayout.Data + ProgramLayout.PageSize - (ulong)random.Next(0, 32),
        < 14 => ProgramLayout.Far + ((ulong)random.Next(ProgramLayout.FarSize - 64) & ~15UL),
        _ => ProgramLayout.Data + (ulong)random.Next(0x1FC0),
    } & (size == 16 && random.Next(6) != 0 ? ~15UL : ~0UL);
}
