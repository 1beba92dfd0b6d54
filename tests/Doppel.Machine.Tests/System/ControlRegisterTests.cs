using Doppel.Machine.Cpu;
using Doppel.Machine.Cpu.Models;
using Doppel.Machine.Cpu.Segments;
using Doppel.Machine.Cpu.System;

namespace Doppel.Machine.Tests.System;

public sealed unsafe class ControlRegisterTests
{
    [Theory]
    [InlineData(0)]
    [InlineData(2)]
    [InlineData(3)]
    [InlineData(4)]
    [InlineData(8)]
    public void User_code_may_neither_read_nor_write_control_registers(int register)
    {
        using TestCpu test = new TestCpu().InLongMode(cpl: 3);
        FaultRecord.AssertGeneralProtection(() => ControlRegisters.Read(test.Cpu, register));
        FaultRecord.AssertGeneralProtection(() => ControlRegisters.Write(test.Cpu, register, 0));
    }

    [Theory]
    [InlineData(1)]
    [InlineData(5)]
    [InlineData(6)]
    [InlineData(7)]
    [InlineData(9)]
    [InlineData(15)]
    public void Control_registers_that_do_not_exist_are_undefined_opcodes_at_any_privilege(int register)
    {
        using TestCpu test = new TestCpu().InLongMode(cpl: 3);
        FaultRecord.AssertInvalidOpcode(() => ControlRegisters.Read(test.Cpu, register));
        FaultRecord.AssertInvalidOpcode(() => ControlRegisters.Write(test.Cpu, register, 0));
    }

    [Theory]
    [InlineData(Cr0.Pg)]
    [InlineData(Cr0.Pe | Cr0.Nw)]
    [InlineData(1UL << 32)]
    [InlineData(1UL << 63)]
    public void Impossible_cr0_values_fault_and_change_nothing(ulong value)
    {
        using TestCpu test = new();
        ulong before = test.State->Cr0;
        FaultRecord.AssertGeneralProtection(() => ControlRegisters.Write(test.Cpu, 0, value));
        Assert.Equal(before, test.State->Cr0);
    }

    [Fact]
    public void Cr0_keeps_et_and_ignores_reserved_bits_of_its_low_half()
    {
        using TestCpu test = new();
        ControlRegisters.Write(test.Cpu, 0, Cr0.Pe | 0x1FFEFFC0);
        Assert.Equal(Cr0.Pe | Cr0.Et | Cr0.Am, ControlRegisters.Read(test.Cpu, 0));
        ControlRegisters.Write(test.Cpu, 0, 0);
        Assert.Equal(Cr0.Et, ControlRegisters.Read(test.Cpu, 0));
    }

    [Fact]
    public void Long_mode_begins_when_paging_is_enabled_under_lme_and_ends_with_it()
    {
        using TestCpu test = new TestCpu().InProtectedMode();
        CpuState* s = test.State;
        s->Cr3 = 0x1000;
        Msrs.Write(test.Cpu, MsrIndex.Efer, Efer.Lme);
        Assert.False(s->IsLongMode);

        // Without PAE.
        FaultRecord.AssertGeneralProtection(() => ControlRegisters.Write(test.Cpu, 0, s->Cr0 | Cr0.Pg));
        ControlRegisters.Write(test.Cpu, 4, Cr4.Pae);

        // With a 64-bit code segment.
        s->Cs.Attributes |= SegmentAttributes.Long;
        FaultRecord.AssertGeneralProtection(() => ControlRegisters.Write(test.Cpu, 0, s->Cr0 | Cr0.Pg));
        s->Cs.Attributes &= ~SegmentAttributes.Long;

        // With a 16-bit TSS.
        s->Tr.Attributes = SegmentAttributes.Present | (SegmentAttributes)3;
        FaultRecord.AssertGeneralProtection(() => ControlRegisters.Write(test.Cpu, 0, s->Cr0 | Cr0.Pg));
        s->Tr.Attributes = SegmentAttributes.Present | (SegmentAttributes)11;
        Assert.Equal(Efer.Lme, s->Efer);

        ControlRegisters.Write(test.Cpu, 0, s->Cr0 | Cr0.Pg);
        Assert.Equal(Efer.Lme | Efer.Lma, s->Efer);

        // PAE cannot go, LME cannot change.
        FaultRecord.AssertGeneralProtection(() => ControlRegisters.Write(test.Cpu, 4, 0));
        FaultRecord.AssertGeneralProtection(() => Msrs.Write(test.Cpu, MsrIndex.Efer, 0));

        ControlRegisters.Write(test.Cpu, 0, s->Cr0 & ~Cr0.Pg);
        Assert.Equal(Efer.Lme, s->Efer);
        Msrs.Write(test.Cpu, MsrIndex.Efer, 0);
    }

    [Fact]
    public void Paging_cannot_be_disabled_in_64_bit_mode_or_under_pcide()
    {
        using TestCpu test = new TestCpu().InLongMode();
        CpuState* s = test.State;
        FaultRecord.AssertGeneralProtection(() => ControlRegisters.Write(test.Cpu, 0, s->Cr0 & ~Cr0.Pg));
        ControlRegisters.Write(test.Cpu, 4, s->Cr4 | Cr4.Pcide);
        s->Cs.Attributes &= ~SegmentAttributes.Long;
        FaultRecord.AssertGeneralProtection(() => ControlRegisters.Write(test.Cpu, 0, s->Cr0 & ~Cr0.Pg));
        ControlRegisters.Write(test.Cpu, 4, s->Cr4 & ~Cr4.Pcide);
        ControlRegisters.Write(test.Cpu, 0, s->Cr0 & ~Cr0.Pg);
        Assert.False(s->IsLongMode);
    }

    [Theory]
    [InlineData(1UL << 12)] // LA57
    [InlineData(1UL << 13)] // VMXE
    [InlineData(1UL << 14)] // SMXE
    [InlineData(1UL << 15)]
    [InlineData(1UL << 19)] // KL
    [InlineData(1UL << 22)] // PKE
    [InlineData(1UL << 23)] // CET
    [InlineData(1UL << 32)]
    public void Cr4_bits_that_no_model_has_fault(ulong bit)
    {
        using TestCpu test = new TestCpu().InLongMode();
        FaultRecord.AssertGeneralProtection(() => ControlRegisters.Write(test.Cpu, 4, test.State->Cr4 | bit));
    }

    [Fact]
    public void Cr4_bits_follow_the_features_of_the_model()
    {
        (CpuFeature Feature, ulong Bit)[] pairs =
        [
            (CpuFeature.Umip, Cr4.Umip), (CpuFeature.Fsgsbase, Cr4.Fsgsbase), (CpuFeature.Pcid, Cr4.Pcide),
            (CpuFeature.Xsave, Cr4.Osxsave), (CpuFeature.Smep, Cr4.Smep), (CpuFeature.Smap, Cr4.Smap),
        ];
        foreach ((CpuFeature feature, ulong bit) in pairs)
        {
            Assert.NotEqual(0u, ControlRegisters.Cr4Mask(CpuModels.Version2) & bit);
            var model = new CpuModel
            {
                Name = "test",
                Signature = 1,
                PhysicalAddressBits = 40,
                Has1GiBPages = true,
                Features = CpuModels.Version2.Features.Without(feature),
            };
            Assert.Equal(0u, ControlRegisters.Cr4Mask(model) & bit);
            using TestCpu test = new TestCpu(model).InLongMode();
            FaultRecord.AssertGeneralProtection(() => ControlRegisters.Write(test.Cpu, 4, test.State->Cr4 | bit));
        }
    }

    [Fact]
    public void Pcide_needs_long_mode_and_a_clear_pcid_in_cr3()
    {
        using TestCpu outside = new TestCpu().InProtectedMode();
        FaultRecord.AssertGeneralProtection(() => ControlRegisters.Write(outside.Cpu, 4, Cr4.Pae | Cr4.Pcide));

        using TestCpu test = new TestCpu().InLongMode();
        ControlRegisters.Write(test.Cpu, 3, 0x1018);
        FaultRecord.AssertGeneralProtection(() => ControlRegisters.Write(test.Cpu, 4, test.State->Cr4 | Cr4.Pcide));
        ControlRegisters.Write(test.Cpu, 3, 0x1000);
        ControlRegisters.Write(test.Cpu, 4, test.State->Cr4 | Cr4.Pcide);
        ControlRegisters.Write(test.Cpu, 3, 0x1018);
        Assert.Equal(0x1018UL, ControlRegisters.Read(test.Cpu, 3));
    }

    [Fact]
    public void Bit_63_of_cr3_is_accepted_under_pcide_only_and_never_read_back()
    {
        using TestCpu test = new TestCpu().InLongMode();
        FaultRecord.AssertGeneralProtection(() => ControlRegisters.Write(test.Cpu, 3, 0x8000000000001000));
        ControlRegisters.Write(test.Cpu, 4, test.State->Cr4 | Cr4.Pcide);
        ControlRegisters.Write(test.Cpu, 3, 0x8000000000001001);
        Assert.Equal(0x1001UL, ControlRegisters.Read(test.Cpu, 3));
    }

    [Fact]
    public void Cr3_bits_beyond_the_physical_addresses_of_the_model_fault()
    {
        using TestCpu test = new TestCpu().InLongMode();
        ControlRegisters.Write(test.Cpu, 3, (1UL << 39) | 0x1000);
        FaultRecord.AssertGeneralProtection(() => ControlRegisters.Write(test.Cpu, 3, (1UL << 40) | 0x1000));
        Assert.Equal((1UL << 39) | 0x1000, test.State->Cr3);
    }

    [Theory]
    [InlineData(0UL, false)]
    [InlineData(0x2001UL, false)]
    [InlineData(0x2019UL, false)] // PWT and PCD are allowed.
    [InlineData(0x2003UL, true)]
    [InlineData(0x2005UL, true)]
    [InlineData(0x2081UL, true)]
    [InlineData(0x2101UL, true)]
    [InlineData(0x10000002001UL, true)]
    [InlineData(0x8000000000002001UL, true)]
    [InlineData(0x8000000000002000UL, false)] // Not present: nothing is reserved.
    public void Mov_to_cr3_under_pae_checks_and_loads_the_pdptes(ulong entry, bool faults)
    {
        using TestCpu test = new TestCpu().InProtectedMode();
        CpuState* s = test.State;
        s->Cr4 = Cr4.Pae;
        s->Cr0 |= Cr0.Pg;
        *(ulong*)(test.Ram + 0x5000 + 0x20 + 24) = entry;
        if (faults)
        {
            FaultRecord.AssertGeneralProtection(() => ControlRegisters.Write(test.Cpu, 3, 0x5020));
            Assert.Equal(0UL, s->Cr3);
            return;
        }

        ControlRegisters.Write(test.Cpu, 3, 0x5020);
        Assert.Equal(entry, s->Pdpte[3]);

        // Memory may change without effect until the next load.
        *(ulong*)(test.Ram + 0x5000 + 0x20 + 24) = 0x7001;
        Assert.Equal(entry, s->Pdpte[3]);
        ControlRegisters.Write(test.Cpu, 4, Cr4.Pae | Cr4.Pge);
        Assert.Equal(0x7001UL, s->Pdpte[3]);
    }

    [Fact]
    public void Enabling_pae_paging_loads_the_pdptes_too()
    {
        using TestCpu test = new TestCpu().InProtectedMode();
        CpuState* s = test.State;
        s->Cr3 = 0x5000;
        *(ulong*)(test.Ram + 0x5000) = 0x6001;
        ControlRegisters.Write(test.Cpu, 4, Cr4.Pae);
        Assert.Equal(0UL, s->Pdpte[0]);
        ControlRegisters.Write(test.Cpu, 0, s->Cr0 | Cr0.Pg);
        Assert.Equal(0x6001UL, s->Pdpte[0]);
    }

    [Fact]
    public void Cr8_is_the_task_priority_of_the_local_apic()
    {
        using TestCpu test = new TestCpu().InLongMode();
        ControlRegisters.Write(test.Cpu, 8, 11);
        Assert.Equal(11, test.Apic.Cr8);
        test.Apic.Cr8 = 5;
        Assert.Equal(5UL, ControlRegisters.Read(test.Cpu, 8));
        FaultRecord.AssertGeneralProtection(() => ControlRegisters.Write(test.Cpu, 8, 16));
        Assert.Equal(5, test.Apic.Cr8);
    }

    [Fact]
    public void Lmsw_sets_pe_but_cannot_clear_it()
    {
        using TestCpu test = new();
        ControlRegisters.Lmsw(test.Cpu, 0xFFF1);
        Assert.Equal(Cr0.Pe, test.State->Cr0 & 0xF);
        ControlRegisters.Lmsw(test.Cpu, 0xE);
        Assert.Equal(0xFUL, test.State->Cr0 & 0xF);
        ControlRegisters.Lmsw(test.Cpu, 0);
        Assert.Equal(Cr0.Pe, test.State->Cr0 & 0xF);
        Assert.Equal(Cr0.Nw | Cr0.Cd, test.State->Cr0 & ~0x1FUL);
        test.SetCpl(3);
        FaultRecord.AssertGeneralProtection(() => ControlRegisters.Lmsw(test.Cpu, 1));
    }

    [Fact]
    public void Clts_clears_ts_in_ring_0_only()
    {
        using TestCpu test = new TestCpu().InProtectedMode();
        test.State->Cr0 |= Cr0.Ts;
        test.SetCpl(1);
        FaultRecord.AssertGeneralProtection(() => ControlRegisters.Clts(test.Cpu));
        test.SetCpl(0);
        ControlRegisters.Clts(test.Cpu);
        Assert.Equal(0UL, test.State->Cr0 & Cr0.Ts);
    }

    [Fact]
    public void Umip_keeps_smsw_from_user_code()
    {
        using TestCpu test = new TestCpu().InLongMode(cpl: 3);
        Assert.Equal(test.State->Cr0, DescriptorInstructions.Smsw(test.Cpu));
        test.State->Cr4 |= Cr4.Umip;
        FaultRecord.AssertGeneralProtection(() => DescriptorInstructions.Smsw(test.Cpu));
        test.SetCpl(0);
        Assert.Equal(test.State->Cr0, DescriptorInstructions.Smsw(test.Cpu));
    }

    [Theory]
    [InlineData(4UL, 0UL, 0UL)]
    [InlineData(ulong.MaxValue, 0UL, 0UL)]
    [InlineData(0UL, 0x1000UL, 0UL)]
    [InlineData(2UL, 1UL << 63, 0UL)]
    [InlineData(0UL, 1UL, 0UL)] // A PCID without PCIDE.
    [InlineData(1UL, 1UL, 0UL)]
    [InlineData(0UL, 0UL, 0x800000000000UL)]
    public void Invpcid_checks_its_type_and_descriptor(ulong type, ulong low, ulong high)
    {
        using TestCpu test = new TestCpu().InLongMode();
        FaultRecord.AssertGeneralProtection(() => ControlRegisters.Invpcid(test.Cpu, type, low, high));
    }

    [Fact]
    public void Invpcid_and_invlpg_belong_to_ring_0()
    {
        using TestCpu test = new TestCpu().InLongMode(cpl: 3);
        FaultRecord.AssertGeneralProtection(() => ControlRegisters.Invpcid(test.Cpu, 2, 0, 0));
        FaultRecord.AssertGeneralProtection(() => ControlRegisters.Invlpg(test.Cpu, 0));
    }

    [Theory]
    [InlineData("x86-64-v2", 1UL, true)]
    [InlineData("x86-64-v2", 3UL, true)]
    [InlineData("x86-64-v2", 7UL, false)]
    [InlineData("x86-64-v3", 7UL, true)]
    [InlineData("x86-64-v3", 5UL, false)] // AVX without SSE.
    [InlineData("x86-64-v3", 2UL, false)] // Without x87.
    [InlineData("x86-64-v3", 0xFUL, false)]
    public void Xsetbv_takes_what_the_model_has(string model, ulong value, bool accepted)
    {
        using TestCpu test = new TestCpu(CpuModels.Find(model)).InLongMode();
        FaultRecord.AssertInvalidOpcode(() => ControlRegisters.Xsetbv(test.Cpu, 0, value));
        FaultRecord.AssertInvalidOpcode(() => ControlRegisters.Xgetbv(test.Cpu, 0));
        ControlRegisters.Write(test.Cpu, 4, test.State->Cr4 | Cr4.Osxsave);
        FaultRecord.AssertGeneralProtection(() => ControlRegisters.Xsetbv(test.Cpu, 1, 1));
        if (!accepted)
        {
            FaultRecord.AssertGeneralProtection(() => ControlRegisters.Xsetbv(test.Cpu, 0, value));
            Assert.Equal(1UL, ControlRegisters.Xgetbv(test.Cpu, 0));
            return;
        }

        ControlRegisters.Xsetbv(test.Cpu, 0, value);
        test.SetCpl(3);
        Assert.Equal(value, ControlRegisters.Xgetbv(test.Cpu, 0));
        FaultRecord.AssertGeneralProtection(() => ControlRegisters.Xsetbv(test.Cpu, 0, value));
        FaultRecord.AssertGeneralProtection(() => ControlRegisters.Xgetbv(test.Cpu, 2));
    }
}
