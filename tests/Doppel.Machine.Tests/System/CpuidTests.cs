using System.Text;
using Doppel.Machine.Cpu;
using Doppel.Machine.Cpu.Models;
using Doppel.Machine.Cpu.System;
using Doppel.Machine.Interrupts;

namespace Doppel.Machine.Tests.System;

public sealed unsafe class CpuidTests
{
    [Fact]
    public void Osxsave_mirrors_cr4_and_apic_mirrors_the_apic_base()
    {
        using TestCpu test = new TestCpu().InLongMode();
        Assert.Equal(0u, Cpuid.Query(test.Cpu, 1, 0).Ecx & (1 << 27));
        ControlRegisters.Write(test.Cpu, 4, test.State->Cr4 | Cr4.Osxsave);
        Assert.NotEqual(0u, Cpuid.Query(test.Cpu, 1, 0).Ecx & (1 << 27));
        Assert.NotEqual(0u, Cpuid.Query(test.Cpu, 1, 0).Edx & (1 << 9));
        Msrs.Write(test.Cpu, MsrIndex.ApicBase, 0xFEE00000);
        Assert.Equal(0u, Cpuid.Query(test.Cpu, 1, 0).Edx & (1 << 9));
    }

    [Fact]
    public void Syscall_is_shown_in_64_bit_mode_only()
    {
        using TestCpu test = new TestCpu().InLongMode();
        Assert.NotEqual(0u, Cpuid.Query(test.Cpu, 0x80000001, 0).Edx & (1 << 11));
        test.State->Cs.Attributes &= ~SegmentAttributes.Long;
        Assert.Equal(0u, Cpuid.Query(test.Cpu, 0x80000001, 0).Edx & (1 << 11));
    }

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(3)]
    [InlineData(4)]
    [InlineData(6)]
    [InlineData(16)]
    public void Every_leaf_gives_the_index_as_the_apic_id_and_the_same_topology(int count)
    {
        var ids = new HashSet<uint>();
        for (int index = 0; index < count; index++)
        {
            using TestCpu test = new(index: index);
            test.Cpu.CpuCount = count;
            CpuidResult basic = Cpuid.Query(test.Cpu, 1, 0);
            Assert.Equal((uint)index, basic.Ebx >> 24);
            Assert.Equal(count > 1, (basic.Edx & (1 << 28)) != 0);
            uint logical = (basic.Ebx >> 16) & 0xFF;
            Assert.True(logical >= count && logical < 2 * count);
            CpuidResult cache = Cpuid.Query(test.Cpu, 4, 0);
            Assert.Equal(logical, (cache.Eax >> 26) + 1);
            Assert.Equal(0u, (cache.Eax >> 14) & 0xFFF);
            Assert.Equal(logical, ((Cpuid.Query(test.Cpu, 4, 3).Eax >> 14) & 0xFFF) + 1);

            foreach (uint leaf in new uint[] { 0xB, 0x1F })
            {
                CpuidResult thread = Cpuid.Query(test.Cpu, leaf, 0), core = Cpuid.Query(test.Cpu, leaf, 1), end = Cpuid.Query(test.Cpu, leaf, 2);
                Assert.Equal(new CpuidResult(0, 1, 0x100, (uint)index), thread);
                Assert.Equal((uint)count, core.Ebx);
                Assert.Equal(0x201u, core.Ecx);
                Assert.Equal((uint)index, core.Edx);
                Assert.Equal(new CpuidResult(0, 0, 2, (uint)index), end);

                // All vCPUs are in one package, and the shift is the smallest that says so.
                Assert.Equal(0u, core.Edx >> (int)core.Eax);
                Assert.Equal(logical, 1u << (int)core.Eax);
            }

            Assert.True(ids.Add(basic.Ebx >> 24));
        }
    }

    [Fact]
    public void Leaf_4_describes_caches_whose_size_the_older_leaf_confirms()
    {
        using TestCpu test = new();
        var sizes = new List<uint>();
        for (uint i = 0; ; i++)
        {
            CpuidResult cache = Cpuid.Query(test.Cpu, 4, i);
            if ((cache.Eax & 31) == 0)
                break;
            sizes.Add(((cache.Ebx >> 22) + 1) * (((cache.Ebx >> 12) & 0x3FF) + 1) * ((cache.Ebx & 0xFFF) + 1) * (cache.Ecx + 1));
        }

        Assert.Equal([32u << 10, 32 << 10, 1 << 20, 16 << 20], sizes);
        CpuidResult extended = Cpuid.Query(test.Cpu, 0x80000006, 0);
        Assert.Equal(sizes[2] >> 10, extended.Ecx >> 16);
        Assert.Equal(64u, extended.Ecx & 0xFF);
        Assert.Equal(8u, (Cpuid.Query(test.Cpu, 1, 0).Ebx >> 8) & 0xFF);
    }

    [Theory]
    [InlineData(1_000_000_000UL)]
    [InlineData(2_500_000_000UL)]
    [InlineData(2_596_123_456UL)]
    [InlineData(2_999_999_937UL)]
    [InlineData(3_400_000_001UL)]
    [InlineData(4_294_000_000UL)]
    [InlineData(700_000_123UL)]
    public void A_guest_computes_the_tscs_rate_from_leaf_15(ulong frequency)
    {
        using TestCpu test = new();
        test.Clock.TscFrequency = frequency;
        CpuidResult crystal = Cpuid.Query(test.Cpu, 0x15, 0);
        Assert.Equal(LocalApic.TimerFrequency, crystal.Ecx);

        // Exactly as Linux does it, in unsigned 32-bit arithmetic.
        uint kilohertz = unchecked(crystal.Ecx / 1000 * crystal.Ebx / crystal.Eax);
        Assert.InRange(kilohertz, frequency / 1000.0 * (1 - 1e-6) - 1, frequency / 1000.0 * (1 + 1e-6));
        Assert.InRange(Cpuid.Query(test.Cpu, 0x16, 0).Eax, (frequency / 1_000_000) - 1, (frequency / 1_000_000) + 1);
        Assert.Equal((uint)(frequency / 1000), Cpuid.Query(test.Cpu, 0x40000010, 0).Eax);
    }

    [Fact]
    public void The_ratio_is_the_best_that_fits()
    {
        var random = new Random(20260101);
        for (int i = 0; i < 200; i++)
        {
            ulong frequency = (ulong)random.NextInt64(800_000_000, 4_200_000_000);
            (uint numerator, uint denominator) = Cpuid.TscRatio(frequency, LocalApic.TimerFrequency);
            Assert.True((LocalApic.TimerFrequency / 1000) * numerator <= uint.MaxValue);
            double error = Math.Abs(((double)numerator / denominator) - (frequency / 1e9));
            for (uint q = 1; q < 1000; q++)
            {
                double p = Math.Round(frequency / 1e9 * q);
                if (p * 1e6 <= uint.MaxValue)
                    Assert.True(error <= Math.Abs((p / q) - (frequency / 1e9)) + 1e-15, $"{frequency}: {numerator}/{denominator}, but {p}/{q}");
            }
        }
    }

    [Fact]
    public void The_hypervisor_is_announced_under_its_own_name()
    {
        using TestCpu test = new();
        Assert.NotEqual(0u, Cpuid.Query(test.Cpu, 1, 0).Ecx & (1u << 31));
        CpuidResult result = Cpuid.Query(test.Cpu, 0x40000000, 0);
        Assert.Equal("DoppelDoppel", Text(result.Ebx, result.Ecx, result.Edx));
        Assert.Equal(0x40000010u, result.Eax);

        // No interface of another hypervisor.
        Assert.Equal(default, Cpuid.Query(test.Cpu, 0x40000001, 0));
        Assert.Equal(default, Cpuid.Query(test.Cpu, 0x40000100, 0));
    }

    [Fact]
    public void Vendor_and_brand_are_text()
    {
        using TestCpu test = new(CpuModels.Version2);
        CpuidResult vendor = Cpuid.Query(test.Cpu, 0, 0);
        Assert.Equal("GenuineIntel", Text(vendor.Ebx, vendor.Edx, vendor.Ecx));
        string brand = string.Concat(Enumerable.Range(0, 3).Select(i =>
        {
            CpuidResult part = Cpuid.Query(test.Cpu, 0x80000002 + (uint)i, 0);
            return Text(part.Eax, part.Ebx, part.Ecx, part.Edx);
        }));
        Assert.Equal("Doppel virtual CPU x86-64-v2", brand.TrimEnd('\0'));
    }

    [Fact]
    public void Leaves_beyond_the_last_answer_as_the_last_basic_one()
    {
        using TestCpu test = new();
        uint maximum = Cpuid.Query(test.Cpu, 0, 0).Eax;
        CpuidResult last = Cpuid.Query(test.Cpu, maximum, 1);
        Assert.Equal(last, Cpuid.Query(test.Cpu, maximum + 1, 1));
        Assert.Equal(last, Cpuid.Query(test.Cpu, 0x7FFFFFFF & ~0x40000000u, 1));
        uint extended = Cpuid.Query(test.Cpu, 0x80000000, 0).Eax;
        Assert.Equal(last, Cpuid.Query(test.Cpu, extended + 1, 1));
        Assert.Equal(last, Cpuid.Query(test.Cpu, 0xFFFFFFFF, 1));
    }

    [Fact]
    public void Address_sizes_and_pages_follow_the_model()
    {
        var model = new CpuModel
        {
            Name = "test",
            Signature = 0x123,
            PhysicalAddressBits = 36,
            Has1GiBPages = false,
            Features = CpuModels.Version2.Features.Without(CpuFeature.Pdpe1Gb),
        };
        using TestCpu test = new(model);
        Assert.Equal(0x3024u, Cpuid.Query(test.Cpu, 0x80000008, 0).Eax);
        Assert.Equal(0u, Cpuid.Query(test.Cpu, 0x80000001, 0).Edx & (1 << 26));
        Assert.Equal(0x123u, Cpuid.Query(test.Cpu, 1, 0).Eax);
        Assert.Equal(0x123UL, test.State->Gpr[2]);
    }

    [Fact]
    public void Every_feature_stands_at_its_place_and_is_gone_when_the_model_hides_it()
    {
        foreach (CpuFeatureInfo info in CpuFeatureCatalog.All)
        {
            Assert.Equal(info, CpuFeatureCatalog.Of(info.Feature));
            foreach (bool isThere in new[] { true, false })
            {
                CpuFeatureSet features = CpuModels.Version3.Features;
                var model = new CpuModel
                {
                    Name = "test",
                    Signature = 1,
                    PhysicalAddressBits = 40,
                    Has1GiBPages = true,
                    Features = isThere ? features.With(info.Feature, CpuFeature.Xsave) : features.Without(info.Feature),
                };
                using TestCpu test = new TestCpu(model).InLongMode();
                CpuidResult result = Cpuid.Query(test.Cpu, info.Leaf, info.Subleaf);
                uint[] registers = [result.Eax, result.Ebx, result.Ecx, result.Edx];
                Assert.Equal(isThere, ((registers[(int)info.Register] >> info.Bit) & 1) != 0);
            }
        }
    }

    private static string Text(params uint[] words) => Encoding.ASCII.GetString([.. words.SelectMany(BitConverter.GetBytes)]);
}
