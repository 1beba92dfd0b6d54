using Iced.Intel;

namespace Doppel.Machine.Cpu.HostInstructions;

/// <summary>Reconstructs FOP, the opcode that the x87 unit remembers (Intel SDM vol. 1, 8.1.9).</summary>
internal static class X87Opcode
{
    /// <summary>Bits 8-10: the low bits of the first opcode byte; bits 0-7: the ModRM byte.</summary>
    internal static ushort Of(in Instruction instruction)
    {
        OpCodeInfo info = instruction.OpCode;
        // "D9 /6", or with a fixed second byte "D9C0+i" as a 16-bit opcode.
        if (info.OpCodeLength == 2)
        {
            int opcode = (int)info.OpCode;
            int index = 0;
            for (int i = 0; i < instruction.OpCount; i++)
            {
                if (info.GetOpKind(i) == OpCodeOperandKind.sti_opcode)
                    index = instruction.GetOpRegister(i) - Register.ST0;
            }

            return (ushort)((opcode & 0x7FF) + index);
        }

        return (ushort)((((int)info.OpCode & 7) << 8) | ModRm(instruction, info.GroupIndex < 0 ? 0 : info.GroupIndex));
    }

    private static int ModRm(in Instruction instruction, int extension)
    {
        Register @base = instruction.MemoryBase;
        Register index = instruction.MemoryIndex;
        int size = instruction.MemoryDisplSize;
        int mod = size switch { 0 => 0, 1 => 0x40, _ => 0x80 };
        int rm;
        if (@base is Register.BX or Register.BP or Register.SI or Register.DI || (@base == Register.None && size == 2))
        {
            rm = (@base, index) switch
            {
                (Register.BX, Register.SI) => 0,
                (Register.BX, Register.DI) => 1,
                (Register.BP, Register.SI) => 2,
                (Register.BP, Register.DI) => 3,
                (Register.SI, _) => 4,
                (Register.DI, _) => 5,
                (Register.BX, _) => 7,
                _ => 6,
            };
            if (@base == Register.None)
                mod = 0;
        }
        else if (@base is Register.RIP or Register.EIP)
        {
            (mod, rm) = (0, 5);
        }
        else if (@base == Register.None)
        {
            bool hasSib = index != Register.None || instruction.CodeSize == CodeSize.Code64;
            (mod, rm) = (0, hasSib ? 4 : 5);
        }
        else
        {
            rm = index != Register.None ? 4 : (@base.GetFullRegister() - Register.RAX) & 7;
        }

        return mod | (extension << 3) | rm;
    }
}
