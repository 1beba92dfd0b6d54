using System.Buffers.Binary;
using System.Numerics;
using System.Text;
using Doppel.Machine.Cpu.Models;
using Doppel.Machine.Interrupts;

namespace Doppel.Machine.Cpu.System;

/// <summary>
/// The CPUID instruction (Intel SDM vol. 2, CPUID). One package, one thread a core; the APIC id of a vCPU is its index, in
/// leaves 1, 0Bh and 1Fh as in the MADT. The TSC's rate and the local APIC timer's stand in leaf 15h, so that a guest need
/// not measure them. Leaf 40000000h names the hypervisor; no paravirtual interface of another one is claimed.
/// </summary>
public static unsafe class Cpuid
{
    /// <summary>The highest basic leaf.</summary>
    public const uint MaximumBasicLeaf = 0x1F;

    /// <summary>The highest extended leaf.</summary>
    public const uint MaximumExtendedLeaf = 0x80000008;

    /// <summary>The highest hypervisor leaf.</summary>
    public const uint MaximumHypervisorLeaf = 0x40000010;

    private const uint HypervisorBit = 1u << 31;
    private const uint CacheLine = 64;

    /// <summary>Answers a leaf. Never fails: what does not exist reads as hardware answers it.</summary>
    public static CpuidResult Query(VirtualCpu cpu, uint leaf, uint subleaf)
    {
        // Beyond the last leaf of a range, Intel's processors answer as for the last basic one.
        if (leaf >> 30 == 1)
            return leaf is >= 0x40000000 and <= MaximumHypervisorLeaf ? Hypervisor(cpu, leaf) : default;
        if (leaf > ((leaf & 0x80000000) != 0 ? MaximumExtendedLeaf : MaximumBasicLeaf))
            leaf = MaximumBasicLeaf;
        return leaf switch
        {
            0 => Vendor(cpu.Model, MaximumBasicLeaf),
            1 => Basic(cpu),
            2 => new CpuidResult(0x76036301, 0x00F0B5FF, 0, 0x00C30000),
            4 => Cache(cpu, subleaf),
            6 => Features(cpu.Model, 6, 0),
            7 => StructuredFeatures(cpu.Model, subleaf),
            0xB or 0x1F => Topology(cpu, subleaf),
            0xD => ExtendedState(cpu, subleaf),
            0x15 => Crystal(cpu),
            0x16 => Frequencies(cpu),
            0x80000000 => new CpuidResult(MaximumExtendedLeaf, 0, 0, 0),
            0x80000001 => Extended(cpu),
            >= 0x80000002 and <= 0x80000004 => Brand(cpu.Model, (int)(leaf - 0x80000002) * 16),
            0x80000006 => new CpuidResult(0, 0, (1024 << 16) | (8 << 12) | CacheLine, 0),
            0x80000007 => Features(cpu.Model, 0x80000007, 0),
            0x80000008 => new CpuidResult((uint)cpu.Model.PhysicalAddressBits | (48 << 8), 0, 0, 0),
            _ => default,
        };
    }

    private static CpuidResult Vendor(CpuModel model, uint maximum) => model.IsAmd
        ? new CpuidResult(maximum, 0x68747541, 0x444D4163, 0x69746E65)
        : new CpuidResult(maximum, 0x756E6547, 0x6C65746E, 0x49656E69);

    private static CpuidResult Features(CpuModel model, uint leaf, uint subleaf)
    {
        Span<uint> registers = stackalloc uint[4];
        registers.Clear();
        foreach (CpuFeatureInfo info in CpuFeatureCatalog.All)
        {
            if (info.Leaf == leaf && info.Subleaf == subleaf && model.Has(info.Feature))
                registers[(int)info.Register] |= 1u << info.Bit;
        }

        return new CpuidResult(registers[0], registers[1], registers[2], registers[3]);
    }

    // Subleaf 1 counts only where it says something.
    private static CpuidResult StructuredFeatures(CpuModel model, uint subleaf)
    {
        CpuidResult second = Features(model, 7, 1);
        return subleaf switch
        {
            0 => Features(model, 7, 0) with { Eax = second == default ? 0u : 1 },
            1 => second,
            _ => default,
        };
    }

    private static CpuidResult Basic(VirtualCpu cpu)
    {
        CpuidResult features = Features(cpu.Model, 1, 0);
        uint count = BitOperations.RoundUpToPowerOf2((uint)cpu.CpuCount);
        uint ebx = ((uint)cpu.Index << 24) | (Math.Min(count, 255) << 16) | ((CacheLine / 8) << 8);
        uint ecx = features.Ecx | HypervisorBit;
        if ((cpu.State->Cr4 & Cr4.Osxsave) != 0)
            ecx |= 1 << 27;
        uint edx = features.Edx;
        if ((cpu.Apic.ApicBase & (1 << 11)) == 0)
            edx &= ~(1u << 9);
        if (cpu.CpuCount > 1)
            edx |= 1 << 28;
        return new CpuidResult(cpu.Model.Signature, ebx, ecx, edx);
    }

    // 32 KiB of first level for data and for code and 1 MiB of second level for each vCPU, 16 MiB of third level for all.
    private static CpuidResult Cache(VirtualCpu cpu, uint subleaf)
    {
        uint count = BitOperations.RoundUpToPowerOf2((uint)cpu.CpuCount);
        return subleaf switch
        {
            0 => One(type: 1, level: 1, ways: 8, sets: 64, sharedBy: 1, inclusive: false),
            1 => One(type: 2, level: 1, ways: 8, sets: 64, sharedBy: 1, inclusive: false),
            2 => One(type: 3, level: 2, ways: 16, sets: 1024, sharedBy: 1, inclusive: false),
            3 => One(type: 3, level: 3, ways: 16, sets: 16384, sharedBy: count, inclusive: true),
            _ => default,
        };

        CpuidResult One(uint type, uint level, uint ways, uint sets, uint sharedBy, bool inclusive) => new(
            type | (level << 5) | (1 << 8) | ((sharedBy - 1) << 14) | ((Math.Min(count, 64) - 1) << 26),
            (CacheLine - 1) | ((ways - 1) << 22),
            sets - 1,
            inclusive ? 2u : 0);
    }

    private static CpuidResult Topology(VirtualCpu cpu, uint subleaf)
    {
        uint id = (uint)cpu.Index;
        uint shift = (uint)BitOperations.Log2(BitOperations.RoundUpToPowerOf2((uint)cpu.CpuCount));
        return subleaf switch
        {
            0 => new CpuidResult(0, 1, 1 << 8, id),
            1 => new CpuidResult(shift, (uint)cpu.CpuCount, (2 << 8) | 1, id),
            _ => new CpuidResult(0, 0, subleaf & 0xFF, id),
        };
    }

    private static CpuidResult ExtendedState(VirtualCpu cpu, uint subleaf)
    {
        CpuModel model = cpu.Model;
        if (!model.Has(CpuFeature.Xsave))
            return default;
        ulong supported = model.SupportedXcr0;
        CpuState* s = cpu.State;
        return subleaf switch
        {
            0 => new CpuidResult((uint)supported, XsaveLayout.StandardSize(s->Xcr0), XsaveLayout.StandardSize(supported), 0),
            1 => Features(model, 0xD, 1) with { Ebx = model.Has(CpuFeature.Xsavec) ? XsaveLayout.CompactedSize(s->Xcr0 | s->Xss) : 0 },
            2 when (supported & XsaveLayout.Avx) != 0 => new CpuidResult(XsaveLayout.AvxSize, XsaveLayout.AvxOffset, 0, 0),
            _ => default,
        };
    }

    private static CpuidResult Crystal(VirtualCpu cpu)
    {
        (uint numerator, uint denominator) = TscRatio(cpu.Clock.TscFrequency, LocalApic.TimerFrequency);
        return new CpuidResult(denominator, numerator, LocalApic.TimerFrequency, 0);
    }

    private static CpuidResult Frequencies(VirtualCpu cpu)
    {
        uint megahertz = (uint)((cpu.Clock.TscFrequency + 500_000) / 1_000_000);
        return new CpuidResult(megahertz, megahertz, 100, 0);
    }

    private static CpuidResult Extended(VirtualCpu cpu)
    {
        CpuidResult features = Features(cpu.Model, 0x80000001, 0);
        return cpu.Model.IsAmd || cpu.State->Is64Bit ? features : features with { Edx = features.Edx & ~(1u << 11) };
    }

    private static CpuidResult Brand(CpuModel model, int offset)
    {
        Span<byte> text = stackalloc byte[48];
        text.Clear();
        _ = Encoding.ASCII.GetBytes(model.BrandString.AsSpan(0, Math.Min(47, model.BrandString.Length)), text);
        ReadOnlySpan<byte> part = text.Slice(offset, 16);
        return new CpuidResult(
            BinaryPrimitives.ReadUInt32LittleEndian(part),
            BinaryPrimitives.ReadUInt32LittleEndian(part[4..]),
            BinaryPrimitives.ReadUInt32LittleEndian(part[8..]),
            BinaryPrimitives.ReadUInt32LittleEndian(part[12..]));
    }

    private static CpuidResult Hypervisor(VirtualCpu cpu, uint leaf) => leaf switch
    {
        // "DoppelDoppel".
        0x40000000 => new CpuidResult(MaximumHypervisorLeaf, 0x70706F44, 0x6F446C65, 0x6C657070),
        // The rates in kHz, as several hypervisors give them.
        0x40000010 => new CpuidResult((uint)(cpu.Clock.TscFrequency / 1000), LocalApic.TimerFrequency / 1000, 0, 0),
        _ => default,
    };

    /// <summary>
    /// The fraction nearest to TSC rate / crystal rate that a guest can multiply in 32 bits: Linux computes the rate as
    /// crystal in kHz * numerator / denominator, all unsigned 32-bit.
    /// </summary>
    internal static (uint Numerator, uint Denominator) TscRatio(ulong tsc, ulong crystal)
    {
        ulong limit = uint.MaxValue / (crystal / 1000);
        ulong p0 = 0, q0 = 1, p1 = 1, q1 = 0;
        ulong a = tsc, b = crystal;
        while (b != 0)
        {
            ulong quotient = a / b;
            ulong p2 = (quotient * p1) + p0, q2 = (quotient * q1) + q0;
            if (p2 > limit)
            {
                // The part of the last step that still fits may be nearer than the convergent before it.
                ulong part = (limit - p0) / p1;
                ulong p = (part * p1) + p0, q = (part * q1) + q0;
                if (q != 0 && Error(p, q) * q1 < Error(p1, q1) * q)
                    (p1, q1) = (p, q);
                break;
            }

            (p0, q0, p1, q1) = (p1, q1, p2, q2);
            (a, b) = (b, a % b);
        }

        return ((uint)p1, (uint)q1);

        // The distance to the true ratio, times the crystal's rate and q.
        UInt128 Error(ulong p, ulong q)
        {
            UInt128 left = (UInt128)p * crystal, right = (UInt128)q * tsc;
            return left > right ? left - right : right - left;
        }
    }
}
