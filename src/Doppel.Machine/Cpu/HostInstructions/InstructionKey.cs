using Iced.Intel;

namespace Doppel.Machine.Cpu.HostInstructions;

/// <summary>What tells two instructions apart that need different stubs. Addressing counts only where it matters.</summary>
internal readonly record struct InstructionKey(ulong Operation, ulong Details, ulong Displacement)
{
    internal static InstructionKey Of(in Instruction instruction)
    {
        ulong operation = (ulong)instruction.Code;
        for (int i = 0; i < Math.Min(instruction.OpCount, 4); i++)
        {
            ulong value = instruction.GetOpKind(i) == OpKind.Register ? (ulong)instruction.GetOpRegister(i) : 0xFF;
            operation |= value << (16 + (8 * i));
        }

        ulong details = 0;
        for (int i = 0; i < instruction.OpCount; i++)
        {
            if (instruction.GetOpKind(i) == OpKind.Immediate8)
                details |= instruction.Immediate8;
        }

        if (instruction.MemorySegment == Register.SS)
            details |= 0x100;
        if (instruction.IsVsib)
        {
            details |= ((ulong)instruction.MemoryBase << 16) | ((ulong)instruction.MemoryIndex << 24)
                | ((ulong)instruction.MemoryIndexScale << 32) | ((ulong)instruction.MemorySegment << 40) | ((ulong)instruction.CodeSize << 48);
            return new InstructionKey(operation, details, instruction.MemoryDisplacement64);
        }

        if (Array.IndexOf(instruction.CpuidFeatures, CpuidFeature.FPU) >= 0)
            details |= (ulong)X87Opcode.Of(instruction) << 16;
        return new InstructionKey(operation, details, 0);
    }
}
