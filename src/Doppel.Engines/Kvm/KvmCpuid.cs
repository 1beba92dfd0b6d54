using Doppel.Host.Kvm;
using Doppel.Machine.Cpu;
using Doppel.Machine.Cpu.Models;
using Doppel.Machine.Cpu.System;

namespace Doppel.Engines.Kvm;

/// <summary>A CPU model as KVM is told of it, and what a host's KVM can't give of one.</summary>
public static class KvmCpuid
{
    private const uint SyscallBit = 1 << 11;

    // What this process answers itself (the local APIC, MSRs), what is a hint about speed, and what describes rather than does.
    private static readonly CpuFeatureSet OwnFeatures = default(CpuFeatureSet).With(
        CpuFeature.Apic, CpuFeature.X2Apic, CpuFeature.TscDeadline, CpuFeature.TscAdjust, CpuFeature.Mtrr, CpuFeature.Mce, CpuFeature.Mca,
        CpuFeature.Arat, CpuFeature.ArchCapabilities, CpuFeature.SpecCtrl, CpuFeature.InvariantTsc, CpuFeature.SelfSnoop,
        CpuFeature.FdpExceptionOnly, CpuFeature.ZeroFcsFds, CpuFeature.Erms, CpuFeature.Fsrm);

    private static readonly (uint Leaf, uint Count)[] Subleaves = [(4, 5), (7, 2), (0xB, 3), (0xD, 3), (0x1F, 3)];

    /// <summary>The features of a model that KVM doesn't have here, by their names in /proc/cpuinfo.</summary>
    public static IReadOnlyList<string> FindMissing(CpuModel model, ReadOnlySpan<KvmCpuidEntry> supported)
    {
        ArgumentNullException.ThrowIfNull(model);
        var missing = new List<string>();
        foreach (CpuFeature feature in model.Features)
        {
            if (!OwnFeatures.Has(feature) && !IsSupported(feature, supported))
                missing.Add(CpuFeatureCatalog.Of(feature).Name);
        }

        return missing;
    }

    /// <summary>True when KVM can show a feature to a guest here.</summary>
    public static bool IsSupported(CpuFeature feature, ReadOnlySpan<KvmCpuidEntry> supported)
    {
        CpuFeatureInfo info = CpuFeatureCatalog.Of(feature);
        foreach (KvmCpuidEntry entry in supported)
        {
            if (entry.Function != info.Leaf || ((entry.Flags & KvmCpuidEntry.HasIndex) != 0 && entry.Index != info.Subleaf))
                continue;
            uint register = info.Register switch
            {
                CpuidRegister.Eax => entry.Eax,
                CpuidRegister.Ebx => entry.Ebx,
                CpuidRegister.Ecx => entry.Ecx,
                _ => entry.Edx,
            };
            return ((register >> info.Bit) & 1) != 0;
        }

        return false;
    }

    /// <summary>Every leaf of a vCPU. What changes with its state, KVM keeps up to date itself.</summary>
    public static KvmCpuidEntry[] Describe(VirtualCpu cpu)
    {
        ArgumentNullException.ThrowIfNull(cpu);
        var entries = new List<KvmCpuidEntry>();
        AddRange(cpu, 0, Cpuid.MaximumBasicLeaf, entries);
        AddRange(cpu, 0x40000000, Cpuid.MaximumHypervisorLeaf, entries);
        AddRange(cpu, 0x80000000, Cpuid.MaximumExtendedLeaf, entries);
        return [.. entries];
    }

    private static void AddRange(VirtualCpu cpu, uint first, uint last, List<KvmCpuidEntry> entries)
    {
        for (uint leaf = first; leaf <= last; leaf++)
        {
            uint subleaves = Subleaves.FirstOrDefault(entry => entry.Leaf == leaf).Count;
            for (uint subleaf = 0; subleaf < Math.Max(subleaves, 1); subleaf++)
            {
                CpuidResult result = Cpuid.Query(cpu, leaf, subleaf);
                // The bit depends on the mode in which CPUID is executed; nearly all of it is 64-bit.
                uint edx = leaf == 0x80000001 && cpu.Model.Has(CpuFeature.Syscall) ? result.Edx | SyscallBit : result.Edx;
                entries.Add(new KvmCpuidEntry
                {
                    Function = leaf,
                    Index = subleaf,
                    Flags = subleaves != 0 ? KvmCpuidEntry.HasIndex : 0,
                    Eax = result.Eax,
                    Ebx = result.Ebx,
                    Ecx = result.Ecx,
                    Edx = edx,
                });
            }
        }
    }
}
