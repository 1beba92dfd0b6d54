using Doppel.Engines.Translator;
using Iced.Intel;

namespace Doppel.Engines.Tests.Translator;

/// <summary>Sums of 16 and 32 bits and operands of every size, as 16- and 32-bit code needs them.</summary>
public sealed unsafe partial class EmitterTests
{
    [Fact]
    public void Sums_of_16_and_32_bits()
    {
        foreach (HostRegister to in All)
        {
            foreach (HostRegister @base in All)
            {
                foreach (int displacement in Displacements)
                {
                    MemoryOperand memory = At(@base, displacement);
                    EmittedCode.Is(Instruction.Create(Code.Lea_r16_m, R16(to), memory), (ref c) => c.Lea16(to, @base, displacement));
                    if (displacement != 0)
                        EmittedCode.Is(Instruction.Create(Code.Lea_r32_m, R32(to), memory), (ref c) => c.Lea32(to, @base, displacement));
                    else
                        EmittedCode.Is(Instruction.Create(Code.Mov_r32_rm32, R32(to), R32(@base)), (ref c) => c.Lea32(to, @base, displacement));
                }

                EmittedCode.Is(Instruction.Create(Code.Movzx_r32_rm16, R32(to), R16(@base)), (ref c) => c.ZeroExtend16(to, @base));
                EmittedCode.Is(Instruction.Create(Code.Mov_r16_rm16, R16(to), R16(@base)), (ref c) => c.Move16(to, @base));
            }

            foreach (HostRegister index in Indexes)
            {
                for (int scale = 0; scale < 4; scale++)
                {
                    int shift = scale;
                    EmittedCode.Is(Instruction.Create(Code.Lea_r32_m, R32(to), At(HostRegister.R13, 0x123, index, scale)), (ref c) => c.LeaIndexed32(to, HostRegister.R13, index, shift, 0x123));
                    MemoryOperand scaled = new(Register.None, R64(index), 1 << scale, -5, 8, false, Register.None);
                    EmittedCode.Is(Instruction.Create(Code.Lea_r32_m, R32(to), scaled), (ref c) => c.LeaScaled(to, index, shift, -5, wide: false));
                }
            }
        }
    }

    [Fact]
    public void Host_operands_of_every_size()
    {
        (int Size, Code Load, Code Store, Code Compare)[] forms =
        [
            (1, Code.Movzx_r32_rm8, Code.Mov_rm8_r8, Code.Cmp_r8_rm8), (2, Code.Movzx_r32_rm16, Code.Mov_rm16_r16, Code.Cmp_r16_rm16),
            (4, Code.Mov_r32_rm32, Code.Mov_rm32_r32, Code.Cmp_r32_rm32), (8, Code.Mov_r64_rm64, Code.Mov_rm64_r64, Code.Cmp_r64_rm64),
        ];
        foreach (HostRegister register in All)
        {
            foreach (HostRegister @base in All)
            {
                foreach (int displacement in Displacements)
                {
                    var operand = new HostOperand(@base, HostRegister.R11, displacement);
                    MemoryOperand memory = At(@base, displacement, HostRegister.R11, 0);
                    foreach ((int size, Code load, Code store, Code compare) in forms)
                    {
                        Register sized = size switch { 1 => R8(register), 2 => R16(register), 4 => R32(register), _ => R64(register) };
                        EmittedCode.Is(Instruction.Create(load, size == 8 ? sized : R32(register), memory), (ref c) => c.LoadSized(register, operand, size));
                        EmittedCode.Is(Instruction.Create(store, memory, sized), (ref c) => c.StoreSized(operand, register, size));
                        EmittedCode.Is(Instruction.Create(compare, sized, memory), (ref c) => c.SizedForm(0x3B, register, operand, size));
                    }
                }
            }
        }
    }

    [Fact]
    public void A_jump_on_a_zero_ECX_leads_to_its_target()
    {
        EmitAction jump = (ref c) =>
        {
            byte* displacement = c.JumpIfEcxZero();
            Skip(ref c, 20);
            c.Bind8(displacement);
        };
        LeadsTo(Code.Jecxz_rel8_64, 3, 20, EmittedCode.Bytes(jump));
    }

    private static Register R16(HostRegister register) => Register.AX + (int)register;

    // With a REX prefix, which is always there.
    private static Register R8(HostRegister register) => (int)register < 4 ? Register.AL + (int)register : Register.SPL + ((int)register - 4);
}
