using Doppel.Engines.Translator;
using Iced.Intel;

namespace Doppel.Engines.Tests.Translator;

/// <summary>Operands of several registers, words of the state, and instructions that change no flags.</summary>
public sealed unsafe partial class EmitterTests
{
    private static readonly HostRegister[] Indexes = [.. All.Where(register => register != HostRegister.Rsp)];

    [Fact]
    public void Words_of_the_state_by_an_index()
    {
        foreach (HostRegister register in All)
        {
            foreach (HostRegister index in Indexes)
            {
                foreach (int slot in Slots)
                {
                    MemoryOperand word = At(Emitter.State, slot - StateLayout.Bias, index, 3), @byte = At(Emitter.State, slot - StateLayout.Bias, index, 0);
                    EmittedCode.Is(Instruction.Create(Code.Mov_r64_rm64, R64(register), word), (ref c) => c.LoadSlotIndexed(register, index, slot));
                    EmittedCode.Is(Instruction.Create(Code.Mov_rm64_r64, word, R64(register)), (ref c) => c.StoreSlotIndexed(index, slot, register));
                    EmittedCode.Is(Instruction.Create(Code.Movzx_r32_rm8, R32(register), @byte), (ref c) => c.LoadSlotByte(register, index, slot));
                }
            }
        }
    }

    [Fact]
    public void Jumps_through_words_of_the_state()
    {
        foreach (HostRegister index in Indexes)
        {
            foreach (int slot in Slots)
                EmittedCode.Is(Instruction.Create(Code.Jmp_rm64, At(Emitter.State, slot - StateLayout.Bias, index, 3)), (ref c) => c.JumpSlotIndexed(index, slot));
        }
    }

    [Fact]
    public void Short_and_signed_loads()
    {
        foreach (HostRegister to in All)
        {
            foreach (int slot in Slots)
                EmittedCode.Is(Instruction.Create(Code.Movzx_r32_rm16, R32(to), Slot(slot)), (ref c) => c.LoadSlot16(to, slot));
            foreach (HostRegister from in All)
                EmittedCode.Is(Instruction.Create(Code.Movsxd_r64_rm32, R64(to), R32(from)), (ref c) => c.SignExtend32(to, from));
        }
    }

    [Fact]
    public void Host_operands()
    {
        foreach (HostRegister register in All)
        {
            foreach (HostRegister @base in All)
            {
                foreach (HostRegister index in Indexes)
                {
                    foreach (int displacement in Displacements)
                    {
                        var operand = new HostOperand(@base, index, displacement);
                        MemoryOperand memory = At(@base, displacement, index, 0);
                        EmittedCode.Is(Instruction.Create(Code.Mov_r64_rm64, R64(register), memory), (ref c) => c.LoadOperand(register, operand));
                        EmittedCode.Is(Instruction.Create(Code.Mov_rm64_r64, memory, R64(register)), (ref c) => c.StoreOperand(operand, register));
                    }
                }
            }
        }
    }

    [Fact]
    public void A_ModRM_byte_of_a_host_operand_keeps_the_reg_field()
    {
        foreach (HostRegister @base in All)
        {
            foreach (int displacement in Displacements)
            {
                // NOT and NEG are /2 and /3 of F7.
                for (int reg = 2; reg < 4; reg++)
                {
                    int extension = reg;
                    var operand = new HostOperand(@base, HostRegister.R13, displacement);
                    EmittedCode.Is(
                        Instruction.Create(reg == 2 ? Code.Not_rm64 : Code.Neg_rm64, At(@base, displacement, HostRegister.R13, 0)),
                        (ref c) =>
                        {
                            c.Byte(0x4A | ((int)@base >> 3));
                            c.Byte(0xF7);
                            c.ModRmOperand(extension, operand);
                        });
                }
            }
        }
    }

    [Fact]
    public void A_long_Lea_has_one_length()
    {
        foreach (HostRegister to in All)
        {
            foreach (HostRegister @base in All.Where(register => ((int)register & 7) != 4))
            {
                foreach (int displacement in Displacements)
                {
                    MemoryOperand memory = new(R64(@base), displacement, 8);
                    EmittedCode.Is(Instruction.Create(Code.Lea_r64_m, R64(to), memory), (ref c) => c.LeaLong(to, @base, displacement));
                    Assert.Equal(7, EmittedCode.Bytes((ref c) => c.LeaLong(to, @base, displacement)).Length);
                }
            }
        }
    }

    [Fact]
    public void Shifts_and_rotations_without_flags()
    {
        foreach (HostRegister to in All)
        {
            foreach (HostRegister source in All)
            {
                foreach (int count in (int[])[0, 1, 31, 32, 63])
                    EmittedCode.Is(Instruction.Create(Code.VEX_Rorx_r64_rm64_imm8, R64(to), R64(source), count), (ref c) => c.Rorx(to, source, count));
                foreach (HostRegister count in All)
                {
                    EmittedCode.Is(Instruction.Create(Code.VEX_Sarx_r64_rm64_r64, R64(to), R64(source), R64(count)), (ref c) => c.Sarx(to, source, count, wide: true));
                    EmittedCode.Is(Instruction.Create(Code.VEX_Sarx_r32_rm32_r32, R32(to), R32(source), R32(count)), (ref c) => c.Sarx(to, source, count, wide: false));
                }

                foreach (int slot in Slots)
                    EmittedCode.Is(Instruction.Create(Code.VEX_Pdep_r64_r64_rm64, R64(to), R64(source), Slot(slot)), (ref c) => c.Pdep(to, source, slot));
            }
        }
    }

    [Fact]
    public void Flags_and_complements()
    {
        EmittedCode.Is(Instruction.Create(Code.Pushfq), (ref c) => c.PushFlags());
        EmittedCode.Is(Instruction.Create(Code.Popfq), (ref c) => c.PopFlags());
        foreach (HostRegister register in All)
            EmittedCode.Is(Instruction.Create(Code.Not_rm64, R64(register)), (ref c) => c.Not(register));
    }

    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    [InlineData(50)]
    public void Short_jumps_and_addresses_of_code_lead_to_their_target(int between)
    {
        EmitAction jump = (ref c) =>
        {
            byte* displacement = c.JumpShort();
            Skip(ref c, between);
            c.Bind8(displacement);
        };
        LeadsTo(Code.Jmp_rel8_64, 2, between, EmittedCode.Bytes(jump));
        foreach (HostRegister to in All)
        {
            EmitAction lea = (ref c) =>
            {
                byte* target = c.Position;
                Skip(ref c, between);
                c.LeaCode(to, target);
            };
            Instruction instruction = Last(EmittedCode.Bytes(lea), between, Code.Lea_r64_m);
            Assert.Equal((R64(to), Register.RIP, 0ul), (instruction.Op0Register, instruction.MemoryBase, instruction.MemoryDisplacement64));
        }
    }
}
