using Doppel.Engines.Translator;
using Iced.Intel;

namespace Doppel.Engines.Tests.Translator;

/// <summary>Every method of <see cref="Emitter"/> for all registers, against Iced's decoder.</summary>
public sealed unsafe partial class EmitterTests
{
    private static readonly HostRegister[] All = Enum.GetValues<HostRegister>();
    private static readonly int[] Displacements = [0, 1, -1, 8, 127, 128, -128, -129, 0x1000, 0x12345678, int.MaxValue, int.MinValue];
    private static readonly int[] Slots = [0, 8, StateLayout.Bias, StateLayout.Bias + 0x7F, StateLayout.Bias + 0x80, 0x123, 0x1000, int.MaxValue];

    [Fact]
    public void Moves_between_registers()
    {
        foreach (HostRegister to in All)
        {
            foreach (HostRegister from in All)
            {
                if (to == from)
                    Assert.Empty(EmittedCode.Bytes((ref c) => c.Move(to, from)));
                else
                    EmittedCode.Is(Instruction.Create(Code.Mov_r64_rm64, R64(to), R64(from)), (ref c) => c.Move(to, from));
                EmittedCode.Is(Instruction.Create(Code.Mov_r32_rm32, R32(to), R32(from)), (ref c) => c.Move32(to, from));
                EmittedCode.Is(Instruction.Create(Code.Add_r64_rm64, R64(to), R64(from)), (ref c) => c.RegisterForm(0x03, to, from, wide: true));
                EmittedCode.Is(Instruction.Create(Code.Add_r32_rm32, R32(to), R32(from)), (ref c) => c.RegisterForm(0x03, to, from, wide: false));
            }
        }
    }

    [Fact]
    public void Moves_of_constants_take_the_shortest_form()
    {
        foreach (HostRegister to in All)
        {
            foreach (uint value in new uint[] { 0, 1, 0x7FFFFFFF, 0x80000000, uint.MaxValue })
            {
                EmittedCode.Is(Instruction.Create(Code.Mov_r32_imm32, R32(to), value), (ref c) => c.MoveImmediate32(to, value));
                EmittedCode.Is(Instruction.Create(Code.Mov_r32_imm32, R32(to), value), (ref c) => c.MoveImmediate(to, value));
            }

            foreach (ulong value in new[] { ulong.MaxValue, 0xFFFFFFFF80000000 })
                EmittedCode.Is(Instruction.Create(Code.Mov_rm64_imm32, R64(to), (int)value), (ref c) => c.MoveImmediate(to, value));
            foreach (ulong value in new ulong[] { 0x100000000, 0xFFFFFFFF7FFFFFFF, 0x8000000000000000, 0x0123456789ABCDEF })
                EmittedCode.Is(Instruction.Create(Code.Mov_r64_imm64, R64(to), value), (ref c) => c.MoveImmediate(to, value));
        }
    }

    [Fact]
    public void Loads_and_stores_of_slots_go_through_RSP()
    {
        foreach (int slot in Slots)
        {
            MemoryOperand memory = Slot(slot);
            foreach (HostRegister register in All)
            {
                EmittedCode.Is(Instruction.Create(Code.Mov_r64_rm64, R64(register), memory), (ref c) => c.LoadSlot(register, slot));
                EmittedCode.Is(Instruction.Create(Code.Mov_r32_rm32, R32(register), memory), (ref c) => c.LoadSlot32(register, slot));
                EmittedCode.Is(Instruction.Create(Code.Mov_rm64_r64, memory, R64(register)), (ref c) => c.StoreSlot(slot, register));
                EmittedCode.Is(Instruction.Create(Code.Xor_r64_rm64, R64(register), memory), (ref c) => c.SlotForm(0x33, register, slot, wide: true));
                EmittedCode.Is(Instruction.Create(Code.Xor_r32_rm32, R32(register), memory), (ref c) => c.SlotForm(0x33, register, slot, wide: false));
            }

            foreach (int value in Displacements)
                EmittedCode.Is(Instruction.Create(Code.Mov_rm64_imm32, memory, value), (ref c) => c.StoreSlotImmediate(slot, value));
        }
    }

    [Fact]
    public void Memory_at_a_base_and_a_displacement()
    {
        foreach (HostRegister register in All)
        {
            foreach (HostRegister @base in All)
            {
                foreach (int displacement in Displacements)
                {
                    MemoryOperand memory = At(@base, displacement);
                    EmittedCode.Is(Instruction.Create(Code.Mov_r64_rm64, R64(register), memory), (ref c) => c.Load(register, @base, displacement));
                    EmittedCode.Is(Instruction.Create(Code.Mov_r32_rm32, R32(register), memory), (ref c) => c.Load32(register, @base, displacement));
                    EmittedCode.Is(Instruction.Create(Code.Mov_rm64_r64, memory, R64(register)), (ref c) => c.Store(@base, displacement, register));
                    EmittedCode.Is(Instruction.Create(Code.Add_r32_rm32, R32(register), memory), (ref c) => c.MemoryForm(0x03, register, @base, displacement, wide: false));
                    if (displacement != 0)
                        EmittedCode.Is(Instruction.Create(Code.Lea_r64_m, R64(register), memory), (ref c) => c.Lea(register, @base, displacement));
                }
            }
        }
    }

    [Fact]
    public void Lea_without_a_displacement_is_a_move_or_nothing()
    {
        foreach (HostRegister to in All)
        {
            foreach (HostRegister @base in All)
                Assert.Equal(EmittedCode.Bytes((ref c) => c.Move(to, @base)), EmittedCode.Bytes((ref c) => c.Lea(to, @base, 0)));
        }
    }

    [Fact]
    public void Memory_at_a_base_and_an_index()
    {
        foreach (HostRegister register in All)
        {
            foreach (HostRegister @base in All)
            {
                foreach (HostRegister index in All)
                {
                    // RSP can't be an index.
                    if (index == HostRegister.Rsp)
                        continue;
                    int scale = ((int)register + (int)index) & 3;
                    foreach (int displacement in Displacements)
                    {
                        MemoryOperand memory = At(@base, displacement, index, scale);
                        EmittedCode.Is(Instruction.Create(Code.Lea_r64_m, R64(register), memory), (ref c) => c.LeaIndexed(register, @base, index, scale, displacement));
                        EmittedCode.Is(Instruction.Create(Code.Mov_r64_rm64, R64(register), memory), (ref c) => c.LoadIndexed(register, @base, index, scale, displacement));
                        EmittedCode.Is(Instruction.Create(Code.Mov_r32_rm32, R32(register), memory), (ref c) => c.LoadIndexed32(register, @base, index, scale, displacement));
                    }
                }
            }
        }
    }

    [Fact]
    public void Lea_of_a_scaled_index_alone()
    {
        foreach (HostRegister register in All)
        {
            foreach (HostRegister index in All)
            {
                if (index == HostRegister.Rsp)
                    continue;
                for (int scale = 0; scale < 4; scale++)
                {
                    foreach (int displacement in Displacements)
                    {
                        var memory = new MemoryOperand(Register.None, R64(index), 1 << scale, displacement, 8, false, Register.None);
                        int shift = scale;
                        EmittedCode.Is(Instruction.Create(Code.Lea_r64_m, R64(register), memory), (ref c) => c.LeaScaled(register, index, shift, displacement));
                    }
                }
            }
        }
    }

    [Fact]
    public void Pext_takes_its_mask_from_a_slot()
    {
        foreach (HostRegister to in All)
        {
            foreach (HostRegister source in All)
            {
                foreach (int slot in Slots)
                    EmittedCode.Is(Instruction.Create(Code.VEX_Pext_r64_r64_rm64, R64(to), R64(source), Slot(slot)), (ref c) => c.Pext(to, source, slot));
            }
        }
    }

    [Fact]
    public void Pdep_takes_its_mask_from_a_slot()
    {
        foreach (HostRegister to in All)
        {
            foreach (HostRegister source in All)
            {
                foreach (int slot in Slots)
                    EmittedCode.Is(Instruction.Create(Code.VEX_Pdep_r64_r64_rm64, R64(to), R64(source), Slot(slot)), (ref c) => c.Pdep(to, source, slot));
            }
        }
    }

    [Fact]
    public void Mulx_takes_its_factor_from_a_slot()
    {
        foreach (HostRegister high in All)
        {
            foreach (HostRegister low in All)
            {
                foreach (int slot in Slots)
                    EmittedCode.Is(Instruction.Create(Code.VEX_Mulx_r64_r64_rm64, R64(high), R64(low), Slot(slot)), (ref c) => c.Mulx(high, low, slot));
            }
        }
    }

    [Fact]
    public void Shrx_takes_its_count_from_a_register()
    {
        foreach (HostRegister to in All)
        {
            foreach (HostRegister source in All)
            {
                foreach (HostRegister count in All)
                    EmittedCode.Is(Instruction.Create(Code.VEX_Shrx_r64_rm64_r64, R64(to), R64(source), R64(count)), (ref c) => c.Shrx(to, source, count));
            }
        }
    }

    [Fact]
    public void The_VEX_prefix_holds_all_its_fields()
    {
        foreach (HostRegister reg in All)
        {
            foreach (HostRegister @base in All)
            {
                HostRegister index = (HostRegister)(15 - (int)reg), vvvv = (HostRegister)((int)@base ^ 5);
                if (index == HostRegister.Rsp)
                    continue;
                // VPADDD xmm, xmm, [base + index]; then ANDN of both widths.
                EmittedCode.Is(
                    Instruction.Create(Code.VEX_Vpaddd_xmm_xmm_xmmm128, Register.XMM0 + (int)reg, Register.XMM0 + (int)vvvv, At(@base, 0x100, index, 0)),
                    (ref c) =>
                    {
                        c.Vex(map: 1, prefix: 1, wide: false, (int)reg, (int)index, (int)@base, (int)vvvv);
                        c.Byte(0xFE);
                        c.Byte(0x84 | (((int)reg & 7) << 3));
                        c.Byte((((int)index & 7) << 3) | ((int)@base & 7));
                        c.Word32(0x100);
                    });
                foreach (bool wide in new[] { false, true })
                {
                    Instruction expected = wide
                        ? Instruction.Create(Code.VEX_Andn_r64_r64_rm64, R64(reg), R64(vvvv), R64(@base))
                        : Instruction.Create(Code.VEX_Andn_r32_r32_rm32, R32(reg), R32(vvvv), R32(@base));
                    EmittedCode.Is(expected, (ref c) =>
                    {
                        c.Vex(map: 2, prefix: 0, wide, (int)reg, 0, (int)@base, (int)vvvv);
                        c.Byte(0xF2);
                        c.Byte(0xC0 | (((int)reg & 7) << 3) | ((int)@base & 7));
                    });
                }
            }
        }
    }

    [Fact]
    public void A_ModRM_byte_of_memory_keeps_the_reg_field()
    {
        foreach (HostRegister @base in All)
        {
            foreach (int displacement in Displacements)
            {
                // INC and DEC are /0 and /1 of FF.
                for (int reg = 0; reg < 2; reg++)
                {
                    int extension = reg;
                    EmittedCode.Is(
                        Instruction.Create(reg == 0 ? Code.Inc_rm64 : Code.Dec_rm64, At(@base, displacement)),
                        (ref c) =>
                        {
                            c.Byte(0x48 | ((int)@base >> 3));
                            c.Byte(0xFF);
                            c.ModRmMemory(extension, @base, displacement);
                        });
                }
            }
        }
    }

    [Fact]
    public void Raw_bytes_and_words_are_little_endian()
    {
        byte[] source = [1, 2, 3];
        fixed (byte* start = source)
        {
            byte* p = start;
            Assert.Equal([1, 2, 3], EmittedCode.Bytes((ref c) => c.Bytes(p, 3)));
        }

        Assert.Equal([0xFE], EmittedCode.Bytes((ref c) => c.Byte(-2)));
        Assert.Equal([0x78, 0x56, 0x34, 0x12], EmittedCode.Bytes((ref c) => c.Word32(0x12345678)));
        Assert.Equal([0xEF, 0xCD, 0xAB, 0x89, 0x67, 0x45, 0x23, 0x01], EmittedCode.Bytes((ref c) => c.Word64(0x0123456789ABCDEF)));
    }

    [Fact]
    public void Jumps_through_a_register()
    {
        foreach (HostRegister target in All)
            EmittedCode.Is(Instruction.Create(Code.Jmp_rm64, R64(target)), (ref c) => c.JumpRegister(target));
    }

    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    [InlineData(40)]
    public void Forward_jumps_lead_where_they_are_bound(int between)
    {
        EmitAction jrcxz = (ref c) =>
        {
            byte* displacement = c.JumpIfRcxZero();
            Skip(ref c, between);
            c.Bind8(displacement);
        };
        LeadsTo(Code.Jrcxz_rel8_64, 2, between, EmittedCode.Bytes(jrcxz));
        EmitAction jump = (ref c) =>
        {
            byte* displacement = c.Jump();
            Skip(ref c, between);
            c.Bind32(displacement);
        };
        LeadsTo(Code.Jmp_rel32_64, 5, between, EmittedCode.Bytes(jump));
        EmitAction bindLater = (ref c) =>
        {
            byte* displacement = c.Jump();
            Skip(ref c, between);
            Emitter.Bind32(displacement, c.Position);
        };
        LeadsTo(Code.Jmp_rel32_64, 5, between, EmittedCode.Bytes(bindLater));
    }

    [Fact]
    public void Conditional_jumps_have_their_condition()
    {
        for (int i = 0; i < 16; i++)
        {
            int condition = i;
            EmitAction jump = (ref c) =>
            {
                byte* displacement = c.JumpIf(condition);
                Skip(ref c, 7);
                c.Bind32(displacement);
            };
            LeadsTo(Code.Jo_rel32_64 + (3 * i), 6, 7, EmittedCode.Bytes(jump));
        }
    }

    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    [InlineData(50)]
    public void Backward_jumps_lead_to_their_target(int between)
    {
        EmitAction jump = (ref c) =>
        {
            byte* target = c.Position;
            Skip(ref c, between);
            c.JumpTo(target);
        };
        Assert.Equal(0UL, Last(EmittedCode.Bytes(jump), between, Code.Jmp_rel32_64).NearBranchTarget);
        EmitAction jrcxz = (ref c) =>
        {
            byte* target = c.Position;
            Skip(ref c, between);
            c.JumpIfRcxZeroTo(target);
        };
        Assert.Equal(0UL, Last(EmittedCode.Bytes(jrcxz), between, Code.Jrcxz_rel8_64).NearBranchTarget);
    }

    private static void LeadsTo(Code code, int length, int between, byte[] bytes)
    {
        Assert.Equal(length + between, bytes.Length);
        Instruction jump = EmittedCode.Decode(bytes[..length]);
        Assert.Equal(code, jump.Code);
        Assert.Equal((ulong)bytes.Length, jump.NearBranchTarget);
    }

    private static Instruction Last(byte[] bytes, int from, Code code)
    {
        var decoder = Iced.Intel.Decoder.Create(64, new ByteArrayCodeReader(bytes[from..]), (ulong)from);
        Instruction jump = decoder.Decode();
        Assert.Equal(code, jump.Code);
        Assert.Equal(bytes.Length - from, jump.Length);
        return jump;
    }

    private static void Skip(ref Emitter code, int bytes)
    {
        for (int i = 0; i < bytes; i++)
            code.Byte(0x90);
    }

    private static Register R64(HostRegister register) => Register.RAX + (int)register;

    private static Register R32(HostRegister register) => Register.EAX + (int)register;

    private static MemoryOperand Slot(int slot) => At(HostRegister.Rsp, slot - StateLayout.Bias);

    private static MemoryOperand At(HostRegister @base, int displacement) => new(R64(@base), displacement, displacement == 0 ? 0 : 8);

    private static MemoryOperand At(HostRegister @base, int displacement, HostRegister index, int scale) =>
        new(R64(@base), R64(index), 1 << scale, displacement, displacement == 0 ? 0 : 8, false, Register.None);
}
