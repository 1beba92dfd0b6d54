using Doppel.Engines.Kvm;
using Doppel.Engines.Tests.Guests;
using Doppel.Host.Kvm;
using Doppel.Machine.Cpu.Models;
using Doppel.Machine.Cpu.System;

namespace Doppel.Engines.Tests.Kvm;

public sealed class KvmCpuidTests
{
    /// <summary>A host that has everything.</summary>
    internal static IEnumerable<KvmCpuidEntry> AllOnes => CpuFeatureCatalog.All.Select(info => (info.Leaf, info.Subleaf)).Distinct().Select(leaf => new KvmCpuidEntry
    {
        Function = leaf.Leaf,
        Index = leaf.Subleaf,
        Flags = KvmCpuidEntry.HasIndex,
        Eax = uint.MaxValue,
        Ebx = uint.MaxValue,
        Ecx = uint.MaxValue,
        Edx = uint.MaxValue,
    });

    [Fact]
    public void Each_leaf_is_what_the_machine_answers()
    {
        using var guest = new EngineGuest("interpreter");
        KvmCpuidEntry[] entries = KvmCpuid.Describe(guest.Cpu);
        Assert.Equal(entries.Length, entries.Select(entry => (entry.Function, entry.Index)).Distinct().Count());
        foreach (KvmCpuidEntry entry in entries)
        {
            CpuidResult expected = Cpuid.Query(guest.Cpu, entry.Function, entry.Index);
            // SYSCALL is shown whatever the mode.
            uint edx = entry.Function == 0x80000001 ? expected.Edx | (1u << 11) : expected.Edx;
            Assert.Equal((expected.Eax, expected.Ebx, expected.Ecx, edx), (entry.Eax, entry.Ebx, entry.Ecx, entry.Edx));
        }

        Assert.Contains(entries, entry => entry.Function == Cpuid.MaximumBasicLeaf);
        Assert.Contains(entries, entry => entry.Function == 0x40000000 && entry.Ebx == 0x70706F44);
        Assert.Contains(entries, entry => entry.Function == Cpuid.MaximumExtendedLeaf);
    }

    [Fact]
    public void Every_model_fits_a_host_that_has_everything()
    {
        foreach (CpuModel model in CpuModels.All)
            Assert.Empty(KvmCpuid.FindMissing(model, [.. AllOnes]));
    }
}
