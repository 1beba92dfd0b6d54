using System.Runtime.InteropServices;
using Doppel.Machine.Cpu;
using Doppel.Machine.Cpu.Models;
using Doppel.Machine.Cpu.System;

namespace Doppel.Machine.Tests.System;

public sealed unsafe class XsaveTests
{
    private const ulong Area = 0x8000;
    private const ulong Compacted = 1UL << 63;
    private const int Bv = 512;
    private const int CompactedBv = 520;

    public enum Instruction
    {
        Xsave,
        Xsaveopt,
        Xsavec,
        Xsaves,
        Xrstor,
        Xrstors,
        Fxsave,
        Fxrstor,
    }

    [Theory]
    [InlineData(Instruction.Xsave)]
    [InlineData(Instruction.Xsaveopt)]
    [InlineData(Instruction.Xsavec)]
    [InlineData(Instruction.Xsaves)]
    [InlineData(Instruction.Xrstor)]
    [InlineData(Instruction.Xrstors)]
    public void The_xsave_family_checks_osxsave_then_ts_then_alignment(Instruction instruction)
    {
        using TestCpu test = Create();
        test.State->Cr4 &= ~Cr4.Osxsave;
        test.State->Cr0 |= Cr0.Ts;
        FaultRecord.AssertInvalidOpcode(() => Execute(test, instruction, Area + 16));
        test.State->Cr4 |= Cr4.Osxsave;
        Assert.Equal(ExceptionVector.DeviceNotAvailable, FaultRecord.Of(() => Execute(test, instruction, Area + 16)).Vector);
        test.State->Cr0 &= ~Cr0.Ts;
        FaultRecord.AssertGeneralProtection(() => Execute(test, instruction, Area + 16));
        FaultRecord.AssertGeneralProtection(() => Execute(test, instruction, 0x0000_8000_0000_0000));
    }

    [Theory]
    [InlineData(Instruction.Fxsave)]
    [InlineData(Instruction.Fxrstor)]
    public void Fxsave_and_fxrstor_check_em_and_ts_then_alignment(Instruction instruction)
    {
        using TestCpu test = Create();
        test.State->Cr4 &= ~Cr4.Osxsave;
        foreach (ulong bit in new[] { Cr0.Em, Cr0.Ts })
        {
            test.State->Cr0 |= bit;
            Assert.Equal(ExceptionVector.DeviceNotAvailable, FaultRecord.Of(() => Execute(test, instruction, Area + 8)).Vector);
            test.State->Cr0 &= ~bit;
        }

        FaultRecord.AssertGeneralProtection(() => Execute(test, instruction, Area + 8));
        Execute(test, instruction, Area + 16);
    }

    [Theory]
    [InlineData(Instruction.Xsaves)]
    [InlineData(Instruction.Xrstors)]
    public void The_supervisor_forms_belong_to_ring_0(Instruction instruction)
    {
        using TestCpu test = Create();
        test.SetCpl(3);
        FaultRecord.AssertGeneralProtection(() => Execute(test, instruction, Area));
    }

    [Fact]
    public void Forms_that_the_model_hides_are_undefined()
    {
        var model = new CpuModel
        {
            Name = "test",
            Signature = 1,
            PhysicalAddressBits = 40,
            Has1GiBPages = false,
            Features = CpuModels.Version2.Features.Without(CpuFeature.Xsaveopt, CpuFeature.Xsavec, CpuFeature.Xsaves),
        };
        using TestCpu test = Create(model);
        foreach (Instruction instruction in new[] { Instruction.Xsaveopt, Instruction.Xsavec, Instruction.Xsaves, Instruction.Xrstors })
            FaultRecord.AssertInvalidOpcode(() => Execute(test, instruction, Area));

        // Without compaction, its bit in XCOMP_BV is a reserved one.
        *(ulong*)(test.Ram + Area + CompactedBv) = Compacted | 3;
        FaultRecord.AssertGeneralProtection(() => Execute(test, Instruction.Xrstor, Area));
    }

    [Theory]
    [InlineData(Instruction.Xsave, Instruction.Xrstor)]
    [InlineData(Instruction.Xsaveopt, Instruction.Xrstor)]
    [InlineData(Instruction.Xsavec, Instruction.Xrstor)]
    [InlineData(Instruction.Xsaves, Instruction.Xrstors)]
    public void What_is_saved_is_restored(Instruction save, Instruction restore)
    {
        using TestCpu test = Create();
        Fill(test, 1);
        byte[] before = Registers(test);
        Execute(test, save, Area);
        Assert.Equal(7UL, *(ulong*)(test.Ram + Area + Bv));
        Fill(test, 2);
        Assert.NotEqual(before, Registers(test));
        Execute(test, restore, Area);
        Assert.Equal(before, Registers(test));
    }

    [Fact]
    public void Initial_components_are_marked_so_and_restored_to_their_initial_state()
    {
        using TestCpu test = Create();
        Initialize(test);
        foreach (Instruction save in new[] { Instruction.Xsave, Instruction.Xsaveopt, Instruction.Xsavec, Instruction.Xsaves })
        {
            test.Memory.TryWrite(Area, Enumerable.Repeat((byte)0xCC, 832).ToArray());
            *(ulong*)(test.Ram + Area + Bv) = ulong.MaxValue;
            Execute(test, save, Area);
            bool isStandard = save is Instruction.Xsave or Instruction.Xsaveopt;
            // The standard format keeps what the mask left out; compaction sets every bit anew.
            Assert.Equal(isStandard ? ulong.MaxValue << 3 : 0, *(ulong*)(test.Ram + Area + Bv));
            // XSAVE writes initial values, the others nothing.
            Assert.Equal(save == Instruction.Xsave ? 0u : 0xCCCCCCCC, *(uint*)(test.Ram + Area + 160));
            Assert.Equal(save == Instruction.Xsave ? 0x037F : 0xCCCC, *(ushort*)(test.Ram + Area));
            Assert.Equal(isStandard ? 0xCCCCCCCCCCCCCCCC : Compacted | 7, *(ulong*)(test.Ram + Area + CompactedBv));
        }

        Fill(test, 3);
        new Span<byte>(test.Ram + Area, 832).Fill(0xCC);
        new Span<byte>(test.Ram + Area + Bv, 64).Clear();
        *(uint*)(test.Ram + Area + 24) = 0x1F80;
        byte[] initial = [.. Registers(test)];
        Execute(test, Instruction.Xrstor, Area);
        Initialize(test, initial);
        Assert.Equal(initial, Registers(test));
    }

    [Fact]
    public void Xgetbv_1_shows_what_is_in_use()
    {
        using TestCpu test = Create();
        Initialize(test);
        Assert.Equal(0UL, ControlRegisters.Xgetbv(test.Cpu, 1));
        test.State->Xmm(3)[5] = 1;
        Assert.Equal(2UL, ControlRegisters.Xgetbv(test.Cpu, 1));
        test.State->YmmHigh(15)[15] = 1;
        Assert.Equal(6UL, ControlRegisters.Xgetbv(test.Cpu, 1));
        *(ushort*)test.State->XsaveArea = 0x27F;
        Assert.Equal(7UL, ControlRegisters.Xgetbv(test.Cpu, 1));
        test.State->Mxcsr = 0x1FBF;
        ControlRegisters.Xsetbv(test.Cpu, 0, 3);
        Assert.Equal(3UL, ControlRegisters.Xgetbv(test.Cpu, 1));
    }

    [Fact]
    public void The_mask_selects_what_xsave_writes_and_xrstor_reads()
    {
        using TestCpu test = Create();
        Fill(test, 4);
        byte* area = test.Ram + Area;
        new Span<byte>(area, 832).Fill(0xCC);
        new Span<byte>(area + Bv, 64).Clear();
        *(ulong*)(area + Bv) = 1;
        Execute(test, Instruction.Xsave, Area, mask: 4);
        Assert.Equal(5UL, *(ulong*)(area + Bv));
        Assert.Equal(0xCCCC, *(ushort*)area);
        Assert.Equal(0xCCCCCCCC, *(uint*)(area + 160));
        Assert.Equal(test.State->Mxcsr, *(uint*)(area + 24));
        Assert.Equal(0xFFFFu, *(uint*)(area + 28));
        Assert.Equal(*(ulong*)test.State->YmmHigh(0), *(ulong*)(area + 576));

        byte[] before = Registers(test);
        *(ulong*)(area + Bv) = 7;
        *(uint*)(area + 24) = 0x1F80;
        new Span<byte>(area + 576, 256).Fill(0x11);
        Execute(test, Instruction.Xrstor, Area, mask: 4);
        byte[] after = Registers(test);
        Assert.Equal(before[..24], after[..24]);
        Assert.Equal(0x1F80u, test.State->Mxcsr);
        Assert.Equal(before[32..416], after[32..416]);
        Assert.All(after[576..], b => Assert.Equal(0x11, b));
    }

    [Fact]
    public void Xsavec_counts_mxcsr_as_sse_in_use()
    {
        using TestCpu test = Create();
        Initialize(test);
        test.State->Mxcsr = 0x1FA0;
        Execute(test, Instruction.Xsavec, Area);
        Assert.Equal(2UL, *(ulong*)(test.Ram + Area + Bv));
        Assert.Equal(0x1FA0u, *(uint*)(test.Ram + Area + 24));

        // XSAVE does not, and stores MXCSR all the same.
        Execute(test, Instruction.Xsave, Area + 0x400);
        Assert.Equal(0UL, *(ulong*)(test.Ram + Area + 0x400 + Bv));
        Assert.Equal(0x1FA0u, *(uint*)(test.Ram + Area + 0x400 + 24));
    }

    [Fact]
    public void Xrstor_takes_mxcsr_from_a_standard_area_always_and_from_a_compacted_one_with_sse()
    {
        using TestCpu test = Create();
        byte* area = test.Ram + Area;
        *(uint*)(area + 24) = 0x1F00;
        test.State->Mxcsr = 0x1FA0;
        Execute(test, Instruction.Xrstor, Area, mask: 2);
        Assert.Equal(0x1F00u, test.State->Mxcsr);
        test.State->Mxcsr = 0x1FA0;
        Execute(test, Instruction.Xrstor, Area, mask: 1);
        Assert.Equal(0x1FA0u, test.State->Mxcsr);

        *(ulong*)(area + CompactedBv) = Compacted | 7;
        Execute(test, Instruction.Xrstor, Area, mask: 4);
        Assert.Equal(0x1FA0u, test.State->Mxcsr);
        Execute(test, Instruction.Xrstor, Area, mask: 2);
        Assert.Equal(0x1F80u, test.State->Mxcsr);
        *(ulong*)(area + Bv) = 2;
        Execute(test, Instruction.Xrstor, Area, mask: 2);
        Assert.Equal(0x1F00u, test.State->Mxcsr);
    }

    [Theory]
    [InlineData(Instruction.Xrstor, 8UL, 0UL, 0UL, 0x1F80U)] // A component outside XCR0.
    [InlineData(Instruction.Xrstor, 0UL, 1UL, 0UL, 0x1F80U)] // XCOMP_BV without its bit 63.
    [InlineData(Instruction.Xrstor, 0UL, 0UL, 1UL, 0x1F80U)] // Header bytes 16 to 23.
    [InlineData(Instruction.Xrstor, 0UL, 0UL, 0UL, 0x11F80U)] // A reserved bit of MXCSR, though SSE is initial.
    [InlineData(Instruction.Xrstor, 1UL, Compacted | 2, 0UL, 0x1F80U)] // XSTATE_BV is not in XCOMP_BV.
    [InlineData(Instruction.Xrstor, 1UL, Compacted | 9, 0UL, 0x1F80U)] // XCOMP_BV outside XCR0.
    [InlineData(Instruction.Xrstor, 1UL, Compacted | 7, 1UL, 0x1F80U)]
    [InlineData(Instruction.Xrstor, 2UL, Compacted | 7, 0UL, 0x80001F80U)]
    [InlineData(Instruction.Xrstors, 0UL, 0UL, 0UL, 0x1F80U)] // Not compacted.
    [InlineData(Instruction.Xrstors, 0UL, Compacted | 0x100, 0UL, 0x1F80U)]
    public void Restoring_refuses_reserved_bits_and_changes_nothing(
        Instruction instruction, ulong present, ulong format, ulong reserved, uint mxcsr)
    {
        using TestCpu test = Create();
        Fill(test, 5);
        byte[] before = Registers(test);
        byte* area = test.Ram + Area;
        *(ulong*)(area + Bv) = present;
        *(ulong*)(area + CompactedBv) = format;
        *(ulong*)(area + Bv + 16) = reserved;
        *(uint*)(area + 24) = mxcsr;
        FaultRecord.AssertGeneralProtection(() => Execute(test, instruction, Area));
        Assert.Equal(before, Registers(test));
    }

    [Fact]
    public void The_last_bytes_of_a_compacted_header_are_reserved_but_not_of_a_standard_one()
    {
        using TestCpu test = Create();
        byte* area = test.Ram + Area;
        *(uint*)(area + 24) = 0x1F80;
        area[575] = 1;
        Execute(test, Instruction.Xrstor, Area);
        *(ulong*)(area + CompactedBv) = Compacted;
        FaultRecord.AssertGeneralProtection(() => Execute(test, Instruction.Xrstor, Area));
    }

    [Fact]
    public void Fxrstor_refuses_reserved_bits_of_mxcsr()
    {
        using TestCpu test = Create();
        Fill(test, 6);
        byte[] before = Registers(test);
        *(uint*)(test.Ram + Area + 24) = 0x10000;
        FaultRecord.AssertGeneralProtection(() => Execute(test, Instruction.Fxrstor, Area));
        Assert.Equal(before, Registers(test));

        // Without CR4.OSFXSR it is not loaded.
        test.State->Cr4 &= ~Cr4.Osfxsr;
        Execute(test, Instruction.Fxrstor, Area);
        Assert.Equal(before[24..28], Registers(test)[24..28]);
    }

    [Fact]
    public void Fxsave_stores_the_mask_of_mxcsr_and_leaves_the_available_bytes_alone()
    {
        using TestCpu test = Create();
        Fill(test, 7);
        byte* area = test.Ram + Area;
        new Span<byte>(area, 512).Fill(0xCC);
        Execute(test, Instruction.Fxsave, Area);
        Assert.Equal(0xFFFFu, *(uint*)(area + 28));
        Assert.Equal(Registers(test)[160..416], new ReadOnlySpan<byte>(area + 160, 256).ToArray());
        Assert.All(new ReadOnlySpan<byte>(area + 416, 96).ToArray(), b => Assert.Equal(0xCC, b));

        byte[] before = Registers(test);
        Fill(test, 8);
        Execute(test, Instruction.Fxrstor, Area);
        Assert.Equal(before[..416], Registers(test)[..416]);
    }

    [Theory]
    [InlineData(Instruction.Fxsave, Instruction.Fxrstor)]
    [InlineData(Instruction.Xsave, Instruction.Xrstor)]
    public void The_x87_pointers_are_32_bits_wide_without_rex_w_and_the_selectors_zero(Instruction save, Instruction restore)
    {
        using TestCpu test = Create();
        byte* x87 = test.State->XsaveArea;
        *(ulong*)(x87 + 8) = 0x1122334455667788;
        *(ulong*)(x87 + 16) = 0x99AABBCCDDEEFF00;
        Execute(test, save, Area, is64BitForm: true);
        Assert.Equal(0x1122334455667788UL, *(ulong*)(test.Ram + Area + 8));
        Assert.Equal(0x99AABBCCDDEEFF00UL, *(ulong*)(test.Ram + Area + 16));
        Execute(test, save, Area, is64BitForm: false);
        Assert.Equal(0x55667788UL, *(ulong*)(test.Ram + Area + 8));
        Assert.Equal(0xDDEEFF00UL, *(ulong*)(test.Ram + Area + 16));

        *(ulong*)(test.Ram + Area + 8) = 0x0000_0033_1000_2000;
        Execute(test, restore, Area, is64BitForm: false);
        Assert.Equal(0x10002000UL, *(ulong*)(x87 + 8));
    }

    [Theory]
    [InlineData(Instruction.Xsave)]
    [InlineData(Instruction.Fxsave)]
    public void Outside_64_bit_mode_the_upper_eight_registers_are_left_alone(Instruction save)
    {
        using TestCpu test = Create();
        Fill(test, 9);
        byte[] before = Registers(test);
        test.State->Cs.Attributes &= ~SegmentAttributes.Long;
        byte* area = test.Ram + Area;
        new Span<byte>(area + 288, 128).Fill(0xCC);
        new Span<byte>(area + 704, 128).Fill(0xCC);
        Execute(test, save, Area);
        Assert.All(new ReadOnlySpan<byte>(area + 288, 128).ToArray(), b => Assert.Equal(0xCC, b));
        Assert.All(new ReadOnlySpan<byte>(area + 704, 128).ToArray(), b => Assert.Equal(0xCC, b));
        Execute(test, save == Instruction.Xsave ? Instruction.Xrstor : Instruction.Fxrstor, Area);
        Assert.Equal(before, Registers(test));

        // Nor are they initialised.
        if (save == Instruction.Xsave)
        {
            *(ulong*)(area + Bv) = 0;
            Execute(test, Instruction.Xrstor, Area);
            Assert.Equal(before[288..416], Registers(test)[288..416]);
            Assert.Equal(before[704..832], Registers(test)[704..832]);
            Assert.All(Registers(test)[160..288], b => Assert.Equal(0, b));
        }
    }

    [Theory]
    [InlineData(Instruction.Fxsave)]
    [InlineData(Instruction.Xsave)]
    [InlineData(Instruction.Xsavec)]
    public void A_save_that_faults_on_its_second_page_writes_nothing(Instruction save)
    {
        using TestCpu test = Create();
        Fill(test, 10);

        // The last 2 MiB page of RAM, then nothing.
        ulong end = TestCpu.RamSize;
        ulong start = end - 256;
        FaultRecord fault = FaultRecord.Of(() => Execute(test, save, start));
        Assert.Equal(new FaultRecord(ExceptionVector.PageFault, 2, end, 0, false), fault);
        Assert.All(new ReadOnlySpan<byte>(test.Ram + start, 256).ToArray(), b => Assert.Equal(0, b));
    }

    [Fact]
    public void A_restore_that_faults_changes_nothing()
    {
        using TestCpu test = Create();
        Fill(test, 11);
        byte[] before = Registers(test);
        ulong end = TestCpu.RamSize;
        *(uint*)(test.Ram + end - 576 + 24) = 0x1F80;
        *(ulong*)(test.Ram + end - 64) = 7;
        Assert.Equal(end, FaultRecord.Of(() => Execute(test, Instruction.Xrstor, end - 576)).Address);
        Assert.Equal(before, Registers(test));
    }

    [Fact]
    public void Cpuid_gives_the_sizes_that_xsave_uses()
    {
        using TestCpu test = Create();
        ControlRegisters.Xsetbv(test.Cpu, 0, 3);
        CpuidResult main = Cpuid.Query(test.Cpu, 0xD, 0);
        Assert.Equal(new CpuidResult(7, 576, 832, 0), main);
        Assert.Equal(576u, Cpuid.Query(test.Cpu, 0xD, 1).Ebx);
        ControlRegisters.Xsetbv(test.Cpu, 0, 7);
        Assert.Equal(832u, Cpuid.Query(test.Cpu, 0xD, 0).Ebx);
        Assert.Equal(832u, Cpuid.Query(test.Cpu, 0xD, 1).Ebx);
        CpuidResult avx = Cpuid.Query(test.Cpu, 0xD, 2);
        Assert.Equal(new CpuidResult(256, 576, 0, 0), avx);
        Assert.Equal(default, Cpuid.Query(test.Cpu, 0xD, 3));

        // Not a byte beyond the announced size is touched.
        Fill(test, 12);
        test.Ram[Area + 832] = 0x77;
        Execute(test, Instruction.Xsaves, Area);
        Assert.Equal(0x77, test.Ram[Area + 832]);
        Assert.NotEqual(0UL, *(ulong*)(test.Ram + Area + 824));
    }

    private static TestCpu Create(CpuModel? model = null)
    {
        TestCpu test = new TestCpu(model).InLongMode();
        test.State->Cr4 |= Cr4.Osxsave;
        test.State->Xcr0 = (model ?? CpuModels.Version3).SupportedXcr0;
        return test;
    }

    private static void Execute(TestCpu test, Instruction instruction, ulong address, ulong mask = ulong.MaxValue, bool is64BitForm = true)
    {
        VirtualCpu cpu = test.Cpu;
        test.State->Gpr[0] = (uint)mask | 0xABCD00000000UL;
        test.State->Gpr[2] = mask >> 32;
        switch (instruction)
        {
            case Instruction.Xsave:
                XsaveInstructions.Xsave(cpu, address, is64BitForm);
                break;
            case Instruction.Xsaveopt:
                XsaveInstructions.Xsaveopt(cpu, address, is64BitForm);
                break;
            case Instruction.Xsavec:
                XsaveInstructions.Xsavec(cpu, address, is64BitForm);
                break;
            case Instruction.Xsaves:
                XsaveInstructions.Xsaves(cpu, address, is64BitForm);
                break;
            case Instruction.Xrstor:
                XsaveInstructions.Xrstor(cpu, address, is64BitForm);
                break;
            case Instruction.Xrstors:
                XsaveInstructions.Xrstors(cpu, address, is64BitForm);
                break;
            case Instruction.Fxsave:
                XsaveInstructions.Fxsave(cpu, address, is64BitForm);
                break;
            default:
                XsaveInstructions.Fxrstor(cpu, address, is64BitForm);
                break;
        }
    }

    private static byte[] Registers(TestCpu test)
    {
        byte[] all = new ReadOnlySpan<byte>(test.State->XsaveArea, 832).ToArray();
        Array.Clear(all, 28, 4);
        Array.Clear(all, 416, 160);
        return all;
    }

    private static void Fill(TestCpu test, int seed)
    {
        var random = new Random(seed);
        byte* area = test.State->XsaveArea;
        random.NextBytes(new Span<byte>(area, 24));
        *(ushort*)area = (ushort)(0x0040 | (seed << 8 & 0xF00));
        area[5] = 0;
        *(ushort*)(area + 6) &= 0x7FF;
        test.State->Mxcsr = 0x1F80u | (uint)(seed & 0x3F);
        for (int i = 0; i < 8; i++)
            random.NextBytes(new Span<byte>(area + 32 + (16 * i), 10));
        random.NextBytes(new Span<byte>(area + 160, 256));
        random.NextBytes(new Span<byte>(area + 576, 256));
    }

    private static void Initialize(TestCpu test) =>
        Initialize(test, MemoryMarshal.CreateSpan(ref *test.State->XsaveArea, 832));

    private static void Initialize(TestCpu test, Span<byte> area)
    {
        _ = test;
        area[..416].Clear();
        area[576..832].Clear();
        area[0] = 0x7F;
        area[1] = 0x03;
        area[24] = 0x80;
        area[25] = 0x1F;
    }
}
