using Doppel.Engines.Translator;
using Doppel.Machine.Tests;
using Iced.Intel;
using Xunit.Abstractions;

namespace Doppel.Engines.Tests.Translator;

/// <summary>
/// <see cref="RawInstruction"/> over every instruction of Iced's list that has a ModRM byte and ordinary registers: taken
/// apart and written with other registers, it must be the same instruction on those. DOPPEL_TEST_SEED repeats a run.
/// </summary>
public sealed unsafe class RawInstructionTests(ITestOutputHelper output)
{
    private static readonly Code[] Codes = [.. Enum.GetValues<Code>().Where(IsCopied)];

    [Fact]
    public void Every_instruction_is_written_again_with_other_registers()
    {
        int seed = TestSeed.Take(output);
        var random = new Random(seed);
        int tried = 0;
        foreach (Code code in Codes)
        {
            for (int i = 0; i < 40; i++)
            {
                if (Make(code, random) is Instruction instruction && Encode(instruction) is byte[] bytes)
                {
                    Check(bytes, random);
                    tried++;
                }
            }
        }

        output.WriteLine($"{Codes.Length} codes, {tried} instructions");
        Assert.True(Codes.Length > 1000 && tried > 20 * Codes.Length, $"only {tried} instructions of {Codes.Length} codes");
    }

    [Theory]
    [InlineData("88E0", "mov al,ah")]
    [InlineData("00FB", "add bl,bh")]
    [InlineData("0FB6C4", "movzx eax,ah")]
    [InlineData("0F95C7", "setne bh")]
    public void High_byte_registers_stay_what_they_are(string hex, string text)
    {
        byte[] bytes = Convert.FromHexString(hex);
        Instruction instruction = EmittedCode.Decode(bytes);
        Assert.Equal(text, instruction.ToString());
        EmittedCode.Is(instruction, (ref c) =>
        {
            fixed (byte* p = bytes)
            {
                var raw = new RawInstruction(p, instruction);
                raw.Emit(ref c, raw.Reg, raw.Rm, -1, 0, byteRegisters: true, HostOperand.Checked);
            }
        });
    }

    [Theory]
    [InlineData("480F10C1", 0x48, "REX.W alone")]
    [InlineData("4248FFC0", 0x48, "only the last REX counts")]
    [InlineData("4866FFC0", 0, "a prefix behind REX cancels it")]
    [InlineData("6648FFC0", 0x48, "REX behind 66")]
    public void Of_several_prefixes_the_last_REX_counts(string hex, int rex, string why)
    {
        byte[] bytes = Convert.FromHexString(hex);
        var decoder = Iced.Intel.Decoder.Create(64, new ByteArrayCodeReader(bytes));
        Instruction instruction = decoder.Decode();
        fixed (byte* p = bytes)
            Assert.True(rex == new RawInstruction(p, instruction).Rex, why);
    }

    private static void Check(byte[] bytes, Random random)
    {
        Instruction original = EmittedCode.Decode(bytes);
        OpCodeInfo opcode = original.OpCode;
        int reg = random.Next(16), rm = random.Next(16), vvvv = -1, immediates = 0;
        bool byteRegisters = false, hasReg = false, changesVvvv = random.Next(2) == 0;
        fixed (byte* p = bytes)
        {
            var raw = new RawInstruction(p, original);
            Instruction expected = original;
            for (int i = 0; i < opcode.OpCount; i++)
                byteRegisters |= original.GetOpKind(i) == OpKind.Register && Field(opcode.GetOpKind(i)) != 'i' && original.GetOpRegister(i).IsGPR8();
            // Without REX in the original, 4 to 7 mean high bytes.
            if (byteRegisters && raw.Rex == 0)
            {
                reg &= 3;
                rm &= 3;
            }

            for (int i = 0; i < opcode.OpCount; i++)
            {
                OpCodeOperandKind kind = opcode.GetOpKind(i);
                switch (Field(kind))
                {
                    case 'r':
                        hasReg = true;
                        reg = Limit(kind, reg);
                        expected.SetOpRegister(i, Named(original.GetOpRegister(i), reg));
                        break;
                    case 'v' when changesVvvv:
                        vvvv = random.Next(16);
                        expected.SetOpRegister(i, Named(original.GetOpRegister(i), vvvv));
                        break;
                    case 'm' when original.GetOpKind(i) == OpKind.Register:
                        rm = Limit(kind, rm);
                        expected.SetOpRegister(i, Named(original.GetOpRegister(i), rm));
                        break;
                    case 'm':
                        expected.MemoryBase = Register.RAX + (int)RegisterMap.Address;
                        expected.MemoryIndex = Register.RAX + (int)RegisterMap.Temporary;
                        expected.MemoryIndexScale = 1;
                        expected.MemoryDisplacement64 = 0;
                        expected.MemoryDisplSize = 0;
                        break;
                    case '4':
                        immediates = 1;
                        break;
                    case 'n':
                        immediates += Size(kind);
                        break;
                }
            }

            if (!hasReg)
                reg = raw.Reg;
            RawInstruction parts = raw;
            int regField = reg, rmField = rm, vvvvField = vvvv, count = immediates;
            bool isByte = byteRegisters;
            EmittedCode.Is(expected, (ref c) => parts.Emit(ref c, regField, rmField, vvvvField, count, isByte, HostOperand.Checked));
        }
    }

    // MMX registers have no fourth bit: a given one would be ignored.
    private static int Limit(OpCodeOperandKind kind, int register) =>
        kind is OpCodeOperandKind.mm_reg or OpCodeOperandKind.mm_rm or OpCodeOperandKind.mm_or_mem ? register & 7 : register;

    private static Instruction? Make(Code code, Random random)
    {
        OpCodeInfo opcode = code.ToOpCode();
        var instruction = new Instruction { Code = code };
        bool isMemory = false;
        for (int i = 0; i < opcode.OpCount; i++)
        {
            OpCodeOperandKind kind = opcode.GetOpKind(i);
            bool takesMemory = kind == OpCodeOperandKind.mem || kind.ToString().EndsWith("_or_mem", StringComparison.Ordinal);
            if (takesMemory && (kind == OpCodeOperandKind.mem || random.Next(2) == 0))
            {
                isMemory = true;
                instruction.SetOpKind(i, OpKind.Memory);
                instruction.MemoryBase = Register.RAX + random.Next(16);
                instruction.MemoryIndex = random.Next(2) == 0 ? Register.None : Register.RAX + ((random.Next(15) + 5) % 16);
                instruction.MemoryIndexScale = instruction.MemoryIndex == Register.None ? 1 : 1 << random.Next(4);
                instruction.MemoryDisplSize = 8;
                instruction.MemoryDisplacement64 = (ulong)(long)(random.Next(3) == 0 ? random.Next() : random.Next(256) - 128);
                continue;
            }

            if (Field(kind) == 'n')
            {
                instruction.SetOpKind(i, Immediate(kind));
                instruction.SetImmediate(i, kind == OpCodeOperandKind.imm8_const_1 ? 1 : random.Next(128));
                continue;
            }

            if (Bank(kind) is not Register bank)
                return null;
            instruction.SetOpKind(i, OpKind.Register);
            instruction.SetOpRegister(i, Field(kind) == 'i' ? bank : bank + random.Next(bank == Register.MM0 ? 8 : bank == Register.AL ? 20 : 16));
        }

        // LOCK stands before some operations on memory.
        instruction.HasLockPrefix = isMemory && opcode.CanUseLockPrefix && random.Next(2) == 0;
        return instruction;
    }

    private static byte[]? Encode(in Instruction instruction)
    {
        var writer = new Writer();
        // High byte registers with REX, for example, can't be.
        return Encoder.Create(64, writer).TryEncode(instruction, 0, out _, out _) ? [.. writer.Bytes] : null;
    }

    private static bool IsCopied(Code code)
    {
        OpCodeInfo opcode = code.ToOpCode();
        if (!opcode.IsInstruction || !opcode.Mode64 || opcode.Encoding is not (EncodingKind.Legacy or EncodingKind.VEX) || opcode.Table > OpCodeTableKind.T0F3A)
            return false;
        // Iced decodes some only by an option: those of one maker or of a time gone by. Knights Corner is another processor.
        // With FWAIT before it an instruction is two.
        if (opcode.DecoderOption != DecoderOptions.None || code.ToString().Contains("KNC", StringComparison.Ordinal) || opcode.IsReservedNop || opcode.Fwait || opcode.AddressSize != 0)
            return false;
        bool hasModRm = false;
        for (int i = 0; i < opcode.OpCount; i++)
        {
            OpCodeOperandKind kind = opcode.GetOpKind(i);
            if (Field(kind) == '?')
                return false;
            hasModRm |= Field(kind) is 'r' or 'm';
        }

        return hasModRm;
    }

    // r: reg field, m: rm field or memory, v: vvvv, 4: a register in the immediate, n: immediate, i: implied, ?: none of these.
    private static char Field(OpCodeOperandKind kind) => kind switch
    {
        OpCodeOperandKind.al or OpCodeOperandKind.cl or OpCodeOperandKind.ax or OpCodeOperandKind.eax or OpCodeOperandKind.rax or OpCodeOperandKind.dx => 'i',
        OpCodeOperandKind.xmm_is4 or OpCodeOperandKind.ymm_is4 => '4',
        OpCodeOperandKind.imm8 or OpCodeOperandKind.imm8sex16 or OpCodeOperandKind.imm8sex32 or OpCodeOperandKind.imm8sex64 or
            OpCodeOperandKind.imm16 or OpCodeOperandKind.imm32 or OpCodeOperandKind.imm32sex64 or OpCodeOperandKind.imm64 or OpCodeOperandKind.imm8_const_1 => 'n',
        OpCodeOperandKind.r32_vvvv or OpCodeOperandKind.r64_vvvv or OpCodeOperandKind.xmm_vvvv or OpCodeOperandKind.ymm_vvvv => 'v',
        OpCodeOperandKind.r8_reg or OpCodeOperandKind.r16_reg or OpCodeOperandKind.r32_reg or OpCodeOperandKind.r64_reg or
            OpCodeOperandKind.mm_reg or OpCodeOperandKind.xmm_reg or OpCodeOperandKind.ymm_reg => 'r',
        OpCodeOperandKind.mem or OpCodeOperandKind.r8_or_mem or OpCodeOperandKind.r16_or_mem or OpCodeOperandKind.r32_or_mem or OpCodeOperandKind.r64_or_mem or
            OpCodeOperandKind.mm_or_mem or OpCodeOperandKind.xmm_or_mem or OpCodeOperandKind.ymm_or_mem or
            OpCodeOperandKind.r16_rm or OpCodeOperandKind.r32_rm or OpCodeOperandKind.r64_rm or OpCodeOperandKind.mm_rm or OpCodeOperandKind.xmm_rm or OpCodeOperandKind.ymm_rm => 'm',
        _ => '?',
    };

    private static Register? Bank(OpCodeOperandKind kind) => kind switch
    {
        OpCodeOperandKind.al => Register.AL,
        OpCodeOperandKind.cl => Register.CL,
        OpCodeOperandKind.ax => Register.AX,
        OpCodeOperandKind.dx => Register.DX,
        OpCodeOperandKind.eax => Register.EAX,
        OpCodeOperandKind.rax => Register.RAX,
        _ => kind.ToString().Split('_')[0] switch
        {
            "r8" => Register.AL,
            "r16" => Register.AX,
            "r32" => Register.EAX,
            "r64" => Register.RAX,
            "mm" => Register.MM0,
            "xmm" => Register.XMM0,
            "ymm" => Register.YMM0,
            _ => null,
        },
    };

    // The register of the same kind with a number of the encoding. Iced's 8-bit ones go AL to BL, AH to BH, SPL to DIL, R8L.
    private static Register Named(Register like, int number) =>
        like.IsGPR8() ? Register.AL + (number < 4 ? number : number + 4)
        : (like.IsGPR16() ? Register.AX
        : like.IsGPR32() ? Register.EAX
        : like.IsGPR64() ? Register.RAX
        : like.IsMM() ? Register.MM0
        : like.IsXMM() ? Register.XMM0
        : Register.YMM0) + number;

    private static OpKind Immediate(OpCodeOperandKind kind) => kind switch
    {
        OpCodeOperandKind.imm8 or OpCodeOperandKind.imm8_const_1 => OpKind.Immediate8,
        OpCodeOperandKind.imm8sex16 => OpKind.Immediate8to16,
        OpCodeOperandKind.imm8sex32 => OpKind.Immediate8to32,
        OpCodeOperandKind.imm8sex64 => OpKind.Immediate8to64,
        OpCodeOperandKind.imm16 => OpKind.Immediate16,
        OpCodeOperandKind.imm32 => OpKind.Immediate32,
        OpCodeOperandKind.imm32sex64 => OpKind.Immediate32to64,
        _ => OpKind.Immediate64,
    };

    private static int Size(OpCodeOperandKind kind) => kind switch
    {
        OpCodeOperandKind.imm8_const_1 => 0,
        OpCodeOperandKind.imm16 => 2,
        OpCodeOperandKind.imm32 or OpCodeOperandKind.imm32sex64 => 4,
        OpCodeOperandKind.imm64 => 8,
        _ => 1,
    };

    private sealed class Writer : CodeWriter
    {
        internal List<byte> Bytes { get; } = [];

        public override void WriteByte(byte value) => Bytes.Add(value);
    }
}
