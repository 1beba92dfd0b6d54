using Iced.Intel;

namespace Doppel.Machine.Cpu.Models;

/// <summary>
/// A named, fixed set of features: what CPUID says and what the machine therefore offers. The contract between a saved
/// VM and the host that restores it. Immutable; any thread.
/// </summary>
public sealed class CpuModel
{
    private readonly FeatureGate _gate;
    private readonly CpuFeatureSet _features;

    /// <summary>Creates a model; without <see cref="Features"/> it has those of x86-64-v2.</summary>
    public CpuModel()
    {
        _features = CpuModels.Version2Features;
        _gate = new FeatureGate(_features);
    }

    /// <summary>The name that a user gives, for example "x86-64-v2".</summary>
    public required string Name { get; init; }

    /// <summary>Family, model and stepping as in CPUID.1:EAX; also EDX after reset.</summary>
    public required uint Signature { get; init; }

    /// <summary>MAXPHYADDR: physical address bits, which reserved-bit checks follow.</summary>
    public required int PhysicalAddressBits { get; init; }

    /// <summary>CPUID.80000001h:EDX[26].</summary>
    public required bool Has1GiBPages { get; init; }

    /// <summary>One line for lists of models.</summary>
    public string Description { get; init; } = string.Empty;

    /// <summary>What CPUID.80000002h to 80000004h spell; at most 47 ASCII characters.</summary>
    public string BrandString { get; init; } = "Doppel virtual CPU";

    /// <summary>
    /// Which vendor's rules hold where Intel and AMD differ (SYSRET to a non-canonical address, SYSCALL outside 64-bit
    /// mode, reserved bits of MSRs). CPUID gives the vendor accordingly. No model is AMD's: one rule on every host.
    /// </summary>
    public bool IsAmd { get; init; }

    /// <summary>Every feature that CPUID can announce in this model.</summary>
    public CpuFeatureSet Features
    {
        get => _features;
        init
        {
            _features = value;
            _gate = new FeatureGate(value);
        }
    }

    /// <summary>The state components that XCR0 may enable: x87, SSE and, with AVX, the upper halves of YMM.</summary>
    public ulong SupportedXcr0 => !Has(CpuFeature.Xsave) ? 1UL : Has(CpuFeature.Avx) ? 7UL : 3UL;

    /// <summary>
    /// How the decoder must read instructions whose meaning depends on what the CPU has: without BMI1 and LZCNT, the prefix
    /// of TZCNT and LZCNT is ignored (BSF, BSR); hints of features that do not exist, such as ENDBR64, are no-operations
    /// (Intel SDM vol. 2, table A-3: 0F 0D and 0F 18 to 0F 1F).
    /// </summary>
    public DecoderOptions DecoderOptions =>
        DecoderOptions.ForceReservedNop
        | DecoderOptions.NoWbnoinvd
        | (Has(CpuFeature.Bmi1) ? 0 : DecoderOptions.NoMPFX_0FBC)
        | (Has(CpuFeature.Lzcnt) ? 0 : DecoderOptions.NoMPFX_0FBD)
        | (Has(CpuFeature.Lahf64) ? 0 : DecoderOptions.NoLahfSahf64);

    /// <summary>True when the model has the feature.</summary>
    public bool Has(CpuFeature feature) => _features.Has(feature);

    /// <summary>
    /// False when the instruction belongs to a feature that the model does not have: it then raises #UD. Meant for decode
    /// time, for instructions decoded with <see cref="DecoderOptions"/>.
    /// </summary>
    public bool Allows(in Instruction instruction) => _gate.Allows(instruction.Code);

    /// <summary>True when the model has what the decoder calls by this name, or when that is part of the base architecture.</summary>
    public bool Offers(CpuidFeature feature) => _gate.Offers(feature);
}
