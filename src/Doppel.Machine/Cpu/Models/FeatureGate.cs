using Iced.Intel;

namespace Doppel.Machine.Cpu.Models;

/// <summary>Decides which instructions exist for a set of features. Any thread.</summary>
public sealed class FeatureGate
{
    private const byte Unknown = 0;
    private const byte Allowed = 1;
    private const byte Refused = 2;

    private static readonly int CodeCount = (int)Enum.GetValues<Code>().Max() + 1;

    private static readonly Dictionary<CpuidFeature, CpuFeature> Requirements = new()
    {
        [CpuidFeature.FPU] = CpuFeature.Fpu,
        [CpuidFeature.FPU287] = CpuFeature.Fpu,
        [CpuidFeature.FPU387] = CpuFeature.Fpu,
        [CpuidFeature.TSC] = CpuFeature.Tsc,
        [CpuidFeature.MSR] = CpuFeature.Msr,
        [CpuidFeature.CX8] = CpuFeature.Cx8,
        [CpuidFeature.SEP] = CpuFeature.Sep,
        [CpuidFeature.CMOV] = CpuFeature.Cmov,
        [CpuidFeature.CLFSH] = CpuFeature.Clfsh,
        [CpuidFeature.MMX] = CpuFeature.Mmx,
        [CpuidFeature.FXSR] = CpuFeature.Fxsr,
        [CpuidFeature.SSE] = CpuFeature.Sse,
        [CpuidFeature.SSE2] = CpuFeature.Sse2,
        [CpuidFeature.SSE3] = CpuFeature.Sse3,
        [CpuidFeature.PCLMULQDQ] = CpuFeature.Pclmulqdq,
        [CpuidFeature.SSSE3] = CpuFeature.Ssse3,
        [CpuidFeature.FMA] = CpuFeature.Fma,
        [CpuidFeature.CMPXCHG16B] = CpuFeature.Cx16,
        [CpuidFeature.SSE4_1] = CpuFeature.Sse41,
        [CpuidFeature.SSE4_2] = CpuFeature.Sse42,
        [CpuidFeature.MOVBE] = CpuFeature.Movbe,
        [CpuidFeature.POPCNT] = CpuFeature.Popcnt,
        [CpuidFeature.AES] = CpuFeature.Aes,
        [CpuidFeature.XSAVE] = CpuFeature.Xsave,
        [CpuidFeature.AVX] = CpuFeature.Avx,
        [CpuidFeature.F16C] = CpuFeature.F16c,
        [CpuidFeature.RDRAND] = CpuFeature.Rdrand,
        [CpuidFeature.FSGSBASE] = CpuFeature.Fsgsbase,
        [CpuidFeature.BMI1] = CpuFeature.Bmi1,
        [CpuidFeature.AVX2] = CpuFeature.Avx2,
        [CpuidFeature.BMI2] = CpuFeature.Bmi2,
        [CpuidFeature.INVPCID] = CpuFeature.Invpcid,
        [CpuidFeature.RDSEED] = CpuFeature.Rdseed,
        [CpuidFeature.ADX] = CpuFeature.Adx,
        [CpuidFeature.SMAP] = CpuFeature.Smap,
        [CpuidFeature.SHA] = CpuFeature.Sha,
        [CpuidFeature.RDPID] = CpuFeature.Rdpid,
        [CpuidFeature.CLFLUSHOPT] = CpuFeature.Clflushopt,
        [CpuidFeature.CLWB] = CpuFeature.Clwb,
        [CpuidFeature.GFNI] = CpuFeature.Gfni,
        [CpuidFeature.VAES] = CpuFeature.Vaes,
        [CpuidFeature.VPCLMULQDQ] = CpuFeature.Vpclmulqdq,
        [CpuidFeature.AVX_VNNI] = CpuFeature.AvxVnni,
        [CpuidFeature.XSAVEOPT] = CpuFeature.Xsaveopt,
        [CpuidFeature.XSAVEC] = CpuFeature.Xsavec,
        [CpuidFeature.XSAVES] = CpuFeature.Xsaves,
        [CpuidFeature.LZCNT] = CpuFeature.Lzcnt,
        [CpuidFeature.SYSCALL] = CpuFeature.Syscall,
        [CpuidFeature.RDTSCP] = CpuFeature.Rdtscp,
        [CpuidFeature.X64] = CpuFeature.Lm,
    };

    private readonly CpuFeatureSet _features;
    private readonly byte[] _known = new byte[CodeCount];

    /// <summary>A gate for one set of features.</summary>
    public FeatureGate(CpuFeatureSet features) => _features = features;

    /// <summary>
    /// A gate that lets through what needs no more than these Iced features and the base architecture.
    /// </summary>
    public static FeatureGate For(params ReadOnlySpan<CpuidFeature> features)
    {
        CpuFeatureSet set = default;
        foreach (CpuidFeature feature in features)
        {
            if (Requirements.TryGetValue(feature, out CpuFeature known))
                set = set.With(known);
        }

        return new FeatureGate(set);
    }

    /// <summary>True when everything that the instruction belongs to is there.</summary>
    public bool Allows(Code code)
    {
        byte known = _known[(int)code];
        if (known == Unknown)
            _known[(int)code] = known = Decide(code) ? Allowed : Refused;
        return known == Allowed;
    }

    /// <summary>True when the feature is there, or part of the base architecture.</summary>
    public bool Offers(CpuidFeature feature) =>
        IsBase(feature) || (Requirements.TryGetValue(feature, out CpuFeature required) && _features.Has(required));

    // RSM is not listed: outside system management mode, which does not exist here, it is #UD.
    private static bool IsBase(CpuidFeature feature) => feature is
        CpuidFeature.INTEL8086 or CpuidFeature.INTEL186 or CpuidFeature.INTEL286 or CpuidFeature.INTEL386
        or CpuidFeature.INTEL486 or CpuidFeature.CPUID or CpuidFeature.MULTIBYTENOP or CpuidFeature.PAUSE
        or CpuidFeature.RDPMC or CpuidFeature.HLE || IsHint(feature);

    // In the opcodes reserved for hints: without their feature these do nothing, but do not fault.
    private static bool IsHint(CpuidFeature feature) => feature is
        CpuidFeature.PREFETCHW or CpuidFeature.PREFETCHWT1 or CpuidFeature.CET_IBT or CpuidFeature.CLDEMOTE;

    private bool Decide(Code code)
    {
        foreach (CpuidFeature feature in code.CpuidFeatures())
        {
            if (!Offers(feature))
                return false;
        }

        return true;
    }
}
