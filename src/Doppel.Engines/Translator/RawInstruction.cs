using Iced.Intel;

namespace Doppel.Engines.Translator;

/// <summary>The parts of an encoded instruction, so that it can be written again as 64-bit code with other registers.</summary>
internal readonly unsafe struct RawInstruction
{
    private const byte MostSignificantVvvv = 0x40;

    /// <summary>Takes the bytes apart. They must be a valid instruction with a ModRM byte or without, as Iced decoded it.</summary>
    /// <param name="bytes">The instruction.</param>
    /// <param name="instruction">The same, decoded.</param>
    /// <param name="is64">64-bit code. In other code 40 to 4F are no prefixes, and the operand size depends on the segment.</param>
    internal RawInstruction(byte* bytes, in Instruction instruction, bool is64 = true)
    {
        byte* p = bytes;
        for (; ; p++)
        {
            if (is64 && (*p & 0xF0) == 0x40)
            {
                // Only the last one counts, and only directly before the opcode.
                Rex = *p;
                continue;
            }

            switch (*p)
            {
                case 0x66:
                    OperandPrefix = true;
                    break;
                case 0xF2:
                case 0xF3:
                    RepeatPrefix = *p;
                    break;
                case 0xF0:
                    LockPrefix = true;
                    break;
                case 0x2E or 0x36 or 0x3E or 0x26 or 0x64 or 0x65 or 0x67:
                    break;
                default:
                    goto opcode;
            }

            Rex = 0;
        }

    opcode:
        if (*p is 0xC4 or 0xC5 && (is64 || instruction.Encoding == EncodingKind.VEX))
        {
            IsVex = true;
            if (*p == 0xC5)
            {
                Map = 1;
                VexTail = (byte)(p[1] & 0x7F);
                Rex = (byte)(0x40 | ((~p[1] >> 5) & 4));
                p += 2;
            }
            else
            {
                Map = p[1] & 0x1F;
                VexTail = p[2];
                Rex = (byte)(0x40 | ((~p[1] >> 5) & 7));
                p += 3;
            }

            // There are eight registers, whatever the bits say.
            if (!is64)
            {
                Rex = 0x40;
                VexTail |= MostSignificantVvvv;
            }
        }
        else if (*p == 0x0F)
        {
            p++;
            Map = 1;
            if (*p is 0x38 or 0x3A)
                Map = *p++ == 0x38 ? 2 : 3;
        }

        Opcode = *p++;
        ModRm = *p;
        if (!is64)
        {
            // 82 is another 80.
            if (Map == 0 && Opcode == 0x82)
                Opcode = 0x80;
            OpCodeInfo opcode = instruction.OpCode;
            OperandPrefix = opcode.OperandSize == 16 || opcode.MandatoryPrefix == MandatoryPrefix.P66;
        }

        Immediate = bytes + instruction.Length;
        // The model has no TZCNT or LZCNT: the prefix means nothing.
        if (instruction.Mnemonic is Mnemonic.Bsf or Mnemonic.Bsr)
            RepeatPrefix = 0;
    }

    /// <summary>66 was given; of code that is not 64-bit: it is needed.</summary>
    internal bool OperandPrefix { get; }

    /// <summary>F2 or F3, or 0.</summary>
    internal byte RepeatPrefix { get; }

    /// <summary>F0 was given.</summary>
    internal bool LockPrefix { get; }

    /// <summary>The REX byte (for VEX: the same bits, inverted back), or 0.</summary>
    internal byte Rex { get; }

    /// <summary>VEX-encoded.</summary>
    internal bool IsVex { get; }

    /// <summary>0 one byte, 1 0F, 2 0F38, 3 0F3A.</summary>
    internal int Map { get; }

    /// <summary>W, vvvv, L and pp of a VEX prefix.</summary>
    internal byte VexTail { get; }

    /// <summary>The opcode byte.</summary>
    internal byte Opcode { get; }

    /// <summary>The ModRM byte; meaningless for opcodes without one.</summary>
    internal byte ModRm { get; }

    /// <summary>Just after the instruction: its immediate, if any, ends here.</summary>
    internal byte* Immediate { get; }

    /// <summary>REX.W.</summary>
    internal bool IsWide => IsVex ? (VexTail & 0x80) != 0 : (Rex & 8) != 0;

    /// <summary>The reg field with its REX bit.</summary>
    internal int Reg => ((ModRm >> 3) & 7) | ((Rex & 4) << 1);

    /// <summary>The rm field with its REX bit, when it names a register.</summary>
    internal int Rm => (ModRm & 7) | ((Rex & 1) << 3);

    /// <summary>True when the rm field is memory.</summary>
    internal bool IsMemory => ModRm < 0xC0;

    /// <summary>
    /// Writes the instruction with other registers and another memory operand.
    /// </summary>
    /// <param name="code">Where to.</param>
    /// <param name="reg">The reg field: a host register or what it was.</param>
    /// <param name="rm">The rm field, when it is a register.</param>
    /// <param name="vvvv">The VEX register, or -1 to keep it.</param>
    /// <param name="immediateBytes">Bytes of immediate at the end.</param>
    /// <param name="byteRegisters">An 8-bit register is used: numbers 4 to 7 need a REX prefix to mean SPL to DIL.</param>
    /// <param name="operand">The memory operand, when there is one.</param>
    internal void Emit(ref Emitter code, int reg, int rm, int vvvv, int immediateBytes, bool byteRegisters, in HostOperand operand)
    {
        int rex = (IsWide ? 8 : 0) | ((reg >> 3) << 2);
        rex |= IsMemory ? (((int)operand.Index >> 3) << 1) | ((int)operand.Base >> 3) : rm >> 3;
        if (IsVex)
        {
            int tail = vvvv < 0 ? VexTail : (VexTail & 0x87) | ((~vvvv & 15) << 3);
            code.Byte(0xC4);
            code.Byte(((~rex & 7) << 5) | Map);
            code.Byte(tail);
        }
        else
        {
            if (LockPrefix)
                code.Byte(0xF0);
            if (OperandPrefix)
                code.Byte(0x66);
            if (RepeatPrefix != 0)
                code.Byte(RepeatPrefix);
            if (rex != 0 || (byteRegisters && Rex != 0))
                code.Byte(0x40 | rex);
            if (Map >= 1)
                code.Byte(0x0F);
            if (Map >= 2)
                code.Byte(Map == 2 ? 0x38 : 0x3A);
        }

        code.Byte(Opcode);
        if (IsMemory)
        {
            code.ModRmOperand(reg, operand);
        }
        else
        {
            code.Byte(0xC0 | ((reg & 7) << 3) | (rm & 7));
        }

        code.Bytes(Immediate - immediateBytes, immediateBytes);
    }
}
