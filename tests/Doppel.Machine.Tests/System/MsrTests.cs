using Doppel.Machine.Cpu;
using Doppel.Machine.Cpu.Models;
using Doppel.Machine.Cpu.Segments;
using Doppel.Machine.Cpu.System;

namespace Doppel.Machine.Tests.System;

public sealed unsafe class MsrTests
{
    [Theory]
    [InlineData(0x0U)]
    [InlineData(0x11U)]
    [InlineData(0xC1U)]
    [InlineData(0x140U)]
    [InlineData(0x17BU)] // IA32_MCG_CTL: MCG_CTL_P is clear.
    [InlineData(0x210U)]
    [InlineData(0x280U)]
    [InlineData(0x410U)] // A bank beyond the last.
    [InlineData(0x4FFU)]
    [InlineData(0xC0000085U)]
    [InlineData(0xC0010015U)]
    [InlineData(0x40000000U)]
    [InlineData(0xFFFFFFFFU)]
    public void An_unknown_msr_is_a_general_protection_fault(uint index)
    {
        using TestCpu test = new TestCpu().InLongMode();
        FaultRecord.AssertGeneralProtection(() => Msrs.Read(test.Cpu, index));
        FaultRecord.AssertGeneralProtection(() => Msrs.Write(test.Cpu, index, 0));
    }

    [Fact]
    public void Msrs_belong_to_ring_0()
    {
        using TestCpu test = new TestCpu().InLongMode(cpl: 3);
        FaultRecord.AssertGeneralProtection(() => Msrs.Read(test.Cpu, MsrIndex.Tsc));
        FaultRecord.AssertGeneralProtection(() => Msrs.Write(test.Cpu, MsrIndex.Tsc, 0));
    }

    [Theory]
    [InlineData(MsrIndex.SysenterEsp)]
    [InlineData(MsrIndex.SysenterEip)]
    [InlineData(MsrIndex.Lstar)]
    [InlineData(MsrIndex.Cstar)]
    [InlineData(MsrIndex.FsBase)]
    [InlineData(MsrIndex.GsBase)]
    [InlineData(MsrIndex.KernelGsBase)]
    public void Address_msrs_take_canonical_values_only(uint index)
    {
        using TestCpu test = new TestCpu().InLongMode();
        Msrs.Write(test.Cpu, index, 0xFFFF800000001234);
        FaultRecord.AssertGeneralProtection(() => Msrs.Write(test.Cpu, index, 0x0000800000000000));
        Assert.Equal(0xFFFF800000001234, Msrs.Read(test.Cpu, index));
    }

    [Theory]
    [InlineData(MsrIndex.Star, 0x0023001000000000UL)]
    [InlineData(MsrIndex.SyscallMask, 0x47700UL)]
    [InlineData(MsrIndex.SysenterCs, 0x10UL)]
    [InlineData(MsrIndex.TscAux, 0xFFFFFFFFUL)]
    [InlineData(MsrIndex.Pat, 0x0007040600070106UL)]
    [InlineData(MsrIndex.SpecCtrl, 1UL)]
    [InlineData(MsrIndex.MtrrDefType, 0xC06UL)]
    [InlineData(MsrIndex.MtrrFix64K, 0x0106040500060606UL)]
    [InlineData(MsrIndex.MtrrPhysBase0, 0xC0000000UL)]
    [InlineData(MsrIndex.MtrrPhysMask7, 0xFFC0000800UL)]
    [InlineData(0x40CU, ulong.MaxValue)]
    public void What_is_written_is_read_back(uint index, ulong value)
    {
        using TestCpu test = new TestCpu().InLongMode();
        Msrs.Write(test.Cpu, index, value);
        Assert.Equal(value, Msrs.Read(test.Cpu, index));
    }

    [Theory]
    [InlineData(MsrIndex.Pat, 0x0002040600070406UL)] // 2 is no memory type.
    [InlineData(MsrIndex.Pat, 0x0807040600070406UL)]
    [InlineData(MsrIndex.MtrrDefType, 0xC07UL)]
    [InlineData(MsrIndex.MtrrDefType, 0x1C06UL)]
    [InlineData(MsrIndex.MtrrDefType, 0xD06UL)]
    [InlineData(MsrIndex.MtrrFix16K80000, 0x0606060606060602UL)]
    [InlineData(MsrIndex.MtrrPhysBase0, 0xC0000003UL)]
    [InlineData(MsrIndex.MtrrPhysBase0, 0xC0000100UL)]
    [InlineData(MsrIndex.MtrrPhysBase0, 0x10000000006UL)]
    [InlineData(MsrIndex.MtrrPhysMask7, 0x10000000800UL)]
    [InlineData(MsrIndex.MtrrPhysMask7, 0xFFC0000801UL)]
    [InlineData(MsrIndex.MtrrCap, 0UL)]
    [InlineData(MsrIndex.ArchCapabilities, 0UL)]
    [InlineData(MsrIndex.McgCap, 0UL)]
    [InlineData(MsrIndex.McgStatus, 8UL)]
    [InlineData(0x400U, 0xAAAA_AAAA_AAAA_AAAAUL)]
    [InlineData(0x401U, 1UL)]
    [InlineData(MsrIndex.TscAux, 1UL << 32)]
    [InlineData(MsrIndex.Xss, 1UL << 8)]
    [InlineData(MsrIndex.SpecCtrl, 1UL << 3)]
    [InlineData(MsrIndex.PredCmd, 2UL)]
    [InlineData(MsrIndex.FeatureControl, 1UL)]
    [InlineData(MsrIndex.MiscEnable, 1UL << 40)]
    [InlineData(MsrIndex.DebugCtl, 1UL << 6)]
    [InlineData(MsrIndex.Efer, 1UL << 1)]
    [InlineData(MsrIndex.Efer, 1UL << 12)] // SVME
    [InlineData(MsrIndex.Efer, 1UL << 14)] // FFXSR is AMD's.
    [InlineData(MsrIndex.ApicBase, FakeApic.RefusedBase)]
    [InlineData(MsrIndex.ApicBase, 1UL << 40)]
    public void Values_with_reserved_bits_fault(uint index, ulong value)
    {
        using TestCpu test = new TestCpu().InProtectedMode();
        _ = Msrs.TryRead(test.Cpu, index, out ulong before);
        FaultRecord.AssertGeneralProtection(() => Msrs.Write(test.Cpu, index, value));
        _ = Msrs.TryRead(test.Cpu, index, out ulong after);
        Assert.Equal(before, after);
    }

    [Fact]
    public void Lma_is_read_only()
    {
        using TestCpu test = new TestCpu().InProtectedMode();
        Msrs.Write(test.Cpu, MsrIndex.Efer, Efer.Sce | Efer.Lma);
        Assert.Equal(Efer.Sce, Msrs.Read(test.Cpu, MsrIndex.Efer));

        using TestCpu active = new TestCpu().InLongMode();
        Msrs.Write(active.Cpu, MsrIndex.Efer, Efer.Lme | Efer.Sce);
        Assert.Equal(Efer.Lme | Efer.Sce | Efer.Lma, Msrs.Read(active.Cpu, MsrIndex.Efer));
    }

    [Fact]
    public void Writing_the_tsc_moves_tsc_adjust_and_the_other_way_round()
    {
        using TestCpu test = new TestCpu().InLongMode();
        test.Clock.Tsc = 1000;
        Msrs.Write(test.Cpu, MsrIndex.Tsc, 5000);
        Assert.Equal(5000UL, Msrs.Read(test.Cpu, MsrIndex.Tsc));
        Assert.Equal(4000UL, Msrs.Read(test.Cpu, MsrIndex.TscAdjust));
        test.Clock.Tsc = 1100;
        Assert.Equal(5100UL, TimeStampCounter.Rdtsc(test.Cpu));
        Msrs.Write(test.Cpu, MsrIndex.TscAdjust, unchecked((ulong)-100));
        Assert.Equal(1000UL, Msrs.Read(test.Cpu, MsrIndex.Tsc));
        Msrs.Write(test.Cpu, MsrIndex.TscAdjust, 0);
        Assert.Equal(1100UL, Msrs.Read(test.Cpu, MsrIndex.Tsc));
    }

    [Fact]
    public void A_tsc_deadline_is_set_anew_when_the_tsc_jumps()
    {
        using TestCpu test = new TestCpu().InLongMode();
        Msrs.Write(test.Cpu, MsrIndex.Tsc, 10);
        Assert.Empty(test.Apic.Deadlines);
        Msrs.Write(test.Cpu, MsrIndex.TscDeadline, 7777);
        Assert.Equal(7777UL, Msrs.Read(test.Cpu, MsrIndex.TscDeadline));
        Msrs.Write(test.Cpu, MsrIndex.Tsc, 7000);
        Assert.Equal([7777UL, 7777UL], test.Apic.Deadlines);
    }

    [Fact]
    public void Rdtsc_obeys_tsd_and_rdtscp_gives_tsc_aux()
    {
        using TestCpu test = new TestCpu().InLongMode(cpl: 3);
        test.Clock.Tsc = 42;
        test.State->TscAux = 0x1007;
        Assert.Equal((42UL, 0x1007u), TimeStampCounter.Rdtscp(test.Cpu));
        test.State->Cr4 |= Cr4.Tsd;
        FaultRecord.AssertGeneralProtection(() => TimeStampCounter.Rdtsc(test.Cpu));
        FaultRecord.AssertGeneralProtection(() => TimeStampCounter.Rdtscp(test.Cpu));
        Assert.Equal(0x1007UL, TimeStampCounter.Rdpid(test.Cpu));
        test.SetCpl(0);
        Assert.Equal(42UL, TimeStampCounter.Rdtsc(test.Cpu));
    }

    [Fact]
    public void X2apic_msrs_and_the_apic_base_are_the_local_apics()
    {
        using TestCpu test = new TestCpu().InLongMode();
        FaultRecord.AssertGeneralProtection(() => Msrs.Read(test.Cpu, 0x802));
        FaultRecord.AssertGeneralProtection(() => Msrs.Write(test.Cpu, 0x830, 1));
        test.Apic.Msrs[0x830] = 5;
        Msrs.Write(test.Cpu, 0x830, 0x0000000100000041);
        Assert.Equal(0x0000000100000041UL, test.Apic.Msrs[0x830]);
        Assert.Equal(0xFEE00900UL, Msrs.Read(test.Cpu, MsrIndex.ApicBase));
        Msrs.Write(test.Cpu, MsrIndex.ApicBase, 0xFEE00D00);
        Assert.Equal(0xFEE00D00UL, test.Apic.ApicBase);
    }

    [Fact]
    public void Optional_msrs_exist_with_their_feature_only()
    {
        CpuFeature[] removed =
            [CpuFeature.TscAdjust, CpuFeature.TscDeadline, CpuFeature.SpecCtrl, CpuFeature.ArchCapabilities, CpuFeature.Xsaves, CpuFeature.Rdtscp];
        var model = new CpuModel
        {
            Name = "test",
            Signature = 1,
            PhysicalAddressBits = 40,
            Has1GiBPages = false,
            Features = CpuModels.Version2.Features.Without(removed),
        };
        using TestCpu without = new TestCpu(model).InLongMode();
        using TestCpu with = new TestCpu().InLongMode();
        uint[] indices =
            [MsrIndex.TscAdjust, MsrIndex.TscDeadline, MsrIndex.SpecCtrl, MsrIndex.ArchCapabilities, MsrIndex.Xss, MsrIndex.TscAux];
        foreach (uint index in indices)
        {
            _ = Msrs.Read(with.Cpu, index);
            FaultRecord.AssertGeneralProtection(() => Msrs.Read(without.Cpu, index));
            FaultRecord.AssertGeneralProtection(() => Msrs.Write(without.Cpu, index, 0));
        }
    }

    [Fact]
    public void The_firmwares_mtrrs_leave_all_ram_write_back()
    {
        using TestCpu test = new TestCpu().InLongMode();
        Mtrr.SetFirmwareDefaults(test.Cpu);
        ulong capability = Msrs.Read(test.Cpu, MsrIndex.MtrrCap);
        Assert.Equal(8UL, capability & 0xFF);

        // Every value is one that the guest could have written.
        foreach (uint index in Enumerable.Range(0x200, 16).Append(0x250).Append(0x258).Append(0x259).Concat(Enumerable.Range(0x268, 8)).Append(0x2FF).Select(i => (uint)i))
            Msrs.Write(test.Cpu, index, Msrs.Read(test.Cpu, index));

        Assert.Equal(6, TypeOf(test.Cpu, 0));
        Assert.Equal(6, TypeOf(test.Cpu, 0x9F000));
        Assert.Equal(0, TypeOf(test.Cpu, 0xA0000));
        Assert.Equal(6, TypeOf(test.Cpu, 0x100000));
        Assert.Equal(6, TypeOf(test.Cpu, 0xBFFFF000));
        Assert.Equal(0, TypeOf(test.Cpu, 0xC0000000));
        Assert.Equal(0, TypeOf(test.Cpu, 0xFEE00000));
        Assert.Equal(0, TypeOf(test.Cpu, 0xFFFFF000));
        Assert.Equal(6, TypeOf(test.Cpu, 0x100000000));
        Assert.Equal(6, TypeOf(test.Cpu, 0xF00000000));
    }

    [Fact]
    public void The_pat_after_reset_is_the_architectures()
    {
        using TestCpu test = new();
        Assert.Equal(0x0007040600070406UL, Msrs.Read(test.Cpu, MsrIndex.Pat));
        Assert.Equal(0UL, Msrs.Read(test.Cpu, MsrIndex.MtrrDefType));
    }

    [Fact]
    public void Fsgsbase_instructions_need_cr4_and_64_bit_mode()
    {
        using TestCpu test = new TestCpu().InLongMode(cpl: 3);
        FaultRecord.AssertInvalidOpcode(() => FsGsBase.Read(test.Cpu, Segment.Fs));
        FaultRecord.AssertInvalidOpcode(() => FsGsBase.Write(test.Cpu, Segment.Fs, 1));
        test.State->Cr4 |= Cr4.Fsgsbase;
        FsGsBase.Write(test.Cpu, Segment.Gs, 0x7FFFFFFFF000);
        Assert.Equal(0x7FFFFFFFF000UL, FsGsBase.Read(test.Cpu, Segment.Gs));
        FaultRecord.AssertGeneralProtection(() => FsGsBase.Write(test.Cpu, Segment.Gs, 0x800000000000));
        FaultRecord.AssertGeneralProtection(() => SystemCalls.SwapGs(test.Cpu));
        test.SetCpl(0);
        test.State->KernelGsBase = 5;
        SystemCalls.SwapGs(test.Cpu);
        Assert.Equal(5UL, test.State->Gs.Base);
        Assert.Equal(0x7FFFFFFFF000UL, test.State->KernelGsBase);
        test.State->Cs.Attributes &= ~SegmentAttributes.Long;
        FaultRecord.AssertInvalidOpcode(() => FsGsBase.Read(test.Cpu, Segment.Fs));
        FaultRecord.AssertInvalidOpcode(() => SystemCalls.SwapGs(test.Cpu));
    }

    [Fact]
    public void There_are_no_performance_counters()
    {
        using TestCpu test = new TestCpu().InLongMode();
        FaultRecord.AssertGeneralProtection(() => PerformanceCounters.Rdpmc(test.Cpu, 0));
        Assert.Equal(0u, Cpuid.Query(test.Cpu, 0xA, 0).Eax & 0xFF);
        Assert.Equal(0u, Cpuid.Query(test.Cpu, 1, 0).Ecx & (1 << 3));
    }

    // As a guest works it out (Intel SDM vol. 3, 12.11.4.1).
    private static int TypeOf(VirtualCpu cpu, ulong address)
    {
        ulong defaults = Msrs.Read(cpu, MsrIndex.MtrrDefType);
        Assert.Equal(0xC00UL, defaults & 0xC00);
        if (address < 0x80000)
            return (byte)(Msrs.Read(cpu, 0x250) >> (int)(8 * (address >> 16)));
        if (address < 0xC0000)
            return (byte)(Msrs.Read(cpu, (uint)(0x258 + ((address - 0x80000) >> 17))) >> (int)(8 * ((address >> 14) & 7)));
        if (address < 0x100000)
            return (byte)(Msrs.Read(cpu, (uint)(0x268 + ((address - 0xC0000) >> 15))) >> (int)(8 * ((address >> 12) & 7)));
        for (uint i = 0; i < 8; i++)
        {
            ulong range = Msrs.Read(cpu, 0x200 + (2 * i)), mask = Msrs.Read(cpu, 0x201 + (2 * i));
            ulong bits = mask & 0xFFFFFFFFFF000;
            if ((mask & 0x800) != 0 && (address & bits) == (range & bits))
                return (byte)range;
        }

        return (byte)defaults;
    }

    [Theory]
    [InlineData(0x40CU, ulong.MaxValue)]
    [InlineData(0x40EU, 0xAAAA_AAAA_AAAA_AAAAUL)]
    [InlineData(0x40FU, ulong.MaxValue)]
    public void Machine_check_banks_keep_what_is_written(uint index, ulong value)
    {
        using TestCpu test = new TestCpu().InProtectedMode();
        Msrs.Write(test.Cpu, index, value);
        Assert.Equal(value, Msrs.Read(test.Cpu, index));
    }

    [Fact]
    public void Misc_enable_keeps_its_switches_and_ignores_writes_to_what_is_read_only()
    {
        using TestCpu test = new TestCpu().InProtectedMode();
        Msrs.Write(test.Cpu, MsrIndex.MiscEnable, 0x4_00C5_0809);
        Assert.Equal(0x4_00C5_1809UL, Msrs.Read(test.Cpu, MsrIndex.MiscEnable));
        Msrs.Write(test.Cpu, MsrIndex.MiscEnable, 1 << 7);
        Assert.Equal(0x1800UL, Msrs.Read(test.Cpu, MsrIndex.MiscEnable));
    }
}
