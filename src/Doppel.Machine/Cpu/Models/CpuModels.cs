namespace Doppel.Machine.Cpu.Models;

/// <summary>
/// The CPU models. <c>x86-64-v2</c> and <c>x86-64-v3</c> are the levels of the x86-64 psABI and never change, so that a
/// saved VM finds the same CPU on another host; <c>x86-64-v2-compat</c> is the first without what the KVM of some hosts can't
/// give to a guest; <c>host</c> adds what this host offers and the machine implements.
/// </summary>
/// <remarks>
/// The system part (paging, XSAVE, APIC, TSC and so on) is the machine's own work and is the same in every model.
/// x86-64-v3 has AES and PCLMULQDQ beside the psABI's list: every CPU with AVX2 has had them. All models are
/// Intel's family 6, model 8Fh, whatever the host: the rules that differ between vendors are then the same everywhere,
/// and no list of speculation faults by model number in a guest names it for a fault that applies to guests.
/// </remarks>
public static class CpuModels
{
    /// <summary>Family 6, model 8Fh, stepping 8.</summary>
    private const uint CommonSignature = 0x000806F8;

    private const int CommonPhysicalAddressBits = 40;

    private static readonly CpuFeature[] SystemFeatures =
    [
        CpuFeature.Fpu, CpuFeature.Vme, CpuFeature.De, CpuFeature.Pse, CpuFeature.Tsc, CpuFeature.Msr, CpuFeature.Pae,
        CpuFeature.Mce, CpuFeature.Cx8, CpuFeature.Apic, CpuFeature.Sep, CpuFeature.Mtrr, CpuFeature.Pge, CpuFeature.Mca,
        CpuFeature.Cmov, CpuFeature.Pat, CpuFeature.Pse36, CpuFeature.Clfsh, CpuFeature.Mmx, CpuFeature.Fxsr,
        CpuFeature.Sse, CpuFeature.Sse2, CpuFeature.SelfSnoop, CpuFeature.Cx16, CpuFeature.Pcid, CpuFeature.X2Apic,
        CpuFeature.TscDeadline, CpuFeature.Xsave, CpuFeature.Rdrand, CpuFeature.Arat, CpuFeature.Fsgsbase,
        CpuFeature.TscAdjust, CpuFeature.FdpExceptionOnly, CpuFeature.Smep, CpuFeature.Erms, CpuFeature.Invpcid,
        CpuFeature.ZeroFcsFds, CpuFeature.Rdseed, CpuFeature.Smap, CpuFeature.Umip, CpuFeature.Fsrm,
        CpuFeature.SpecCtrl, CpuFeature.ArchCapabilities, CpuFeature.Xsaveopt, CpuFeature.Xsavec, CpuFeature.Xgetbv1,
        CpuFeature.Xsaves, CpuFeature.Lahf64, CpuFeature.Prefetchw, CpuFeature.Syscall, CpuFeature.Nx,
        CpuFeature.Pdpe1Gb, CpuFeature.Rdtscp, CpuFeature.Lm, CpuFeature.InvariantTsc,
    ];

    private static readonly Lazy<CpuModel> HostModel = new(() => ForHost(HostCpu.Has));

    private static readonly CpuModel Version2Model = Create(
        "x86-64-v2", "SSE4.2, POPCNT, CMPXCHG16B: any x86-64 host since about 2009", "Doppel virtual CPU x86-64-v2", Version2Features);

    // What processors with hardware virtualization from before about 2019 lack, or an emulated one.
    private static readonly CpuModel Version2CompatModel = Create(
        "x86-64-v2-compat",
        "x86-64-v2 without PCID, UMIP, SMAP, XSAVE and others: for hosts whose KVM lacks them",
        "Doppel virtual CPU x86-64-v2-compat",
        Version2Features.Without(
            CpuFeature.Vme, CpuFeature.Pcid, CpuFeature.Invpcid, CpuFeature.Umip, CpuFeature.Smap, CpuFeature.Rdseed, CpuFeature.Xsave,
            CpuFeature.Xsaveopt, CpuFeature.Xsavec, CpuFeature.Xsaves, CpuFeature.Xgetbv1, CpuFeature.Fsrm, CpuFeature.Prefetchw));

    private static readonly CpuModel Version3Model = Create(
        "x86-64-v3", "adds AVX2, BMI, FMA, MOVBE, AES: hosts since about 2013", "Doppel virtual CPU x86-64-v3", Version3Features);

    /// <summary>The psABI's x86-64-v2.</summary>
    public static CpuModel Version2 => Version2Model;

    /// <summary>x86-64-v2 with a smaller system part.</summary>
    public static CpuModel Version2Compat => Version2CompatModel;

    /// <summary>The psABI's x86-64-v3.</summary>
    public static CpuModel Version3 => Version3Model;

    /// <summary>What this host offers, as far as the machine implements it.</summary>
    public static CpuModel Host => HostModel.Value;

    /// <summary>Every model, in the order in which a list shows them.</summary>
    public static IReadOnlyList<CpuModel> All => [Version2, Version2Compat, Version3, Host];

    internal static CpuFeatureSet Version2Features => default(CpuFeatureSet).With(SystemFeatures).With(
        CpuFeature.Sse3, CpuFeature.Ssse3, CpuFeature.Sse41, CpuFeature.Sse42, CpuFeature.Popcnt);

    private static CpuFeatureSet Version3Features => Version2Features.With(
        CpuFeature.Avx, CpuFeature.Avx2, CpuFeature.Bmi1, CpuFeature.Bmi2, CpuFeature.F16c, CpuFeature.Fma,
        CpuFeature.Lzcnt, CpuFeature.Movbe, CpuFeature.Aes, CpuFeature.Pclmulqdq);

    /// <summary>The model of a name, whatever its case.</summary>
    /// <exception cref="CpuModelException">There is none; the message lists those that there are.</exception>
    public static CpuModel Find(string name)
    {
        foreach (CpuModel model in All)
        {
            if (string.Equals(model.Name, name, StringComparison.OrdinalIgnoreCase))
                return model;
        }

        throw new CpuModelException($"CPU model '{name}' is unknown; known models: {string.Join(", ", All.Select(m => m.Name))}");
    }

    /// <summary>Refuses a model whose instructions this host cannot execute.</summary>
    /// <exception cref="CpuModelException">The message names what is missing and the models that would do.</exception>
    public static void EnsureSupported(CpuModel model) => EnsureSupported(model, HostCpu.Has);

    /// <summary>What <c>host</c> is on a host with the given features.</summary>
    internal static CpuModel ForHost(Func<CpuFeature, bool> hostHas)
    {
        CpuFeatureSet features = default(CpuFeatureSet).With(SystemFeatures);
        foreach (CpuFeatureInfo info in CpuFeatureCatalog.All)
        {
            if (info.NeedsHost && hostHas(info.Feature))
                features = features.With(info.Feature);
        }

        // A hypervisor below may mask AVX and forget what builds on it.
        if (!features.Has(CpuFeature.Avx))
            features = features.Without(
                CpuFeature.Avx2, CpuFeature.Fma, CpuFeature.F16c, CpuFeature.Vaes, CpuFeature.Vpclmulqdq, CpuFeature.AvxVnni);
        return Create("host", "what this host offers; a saved VM may not run elsewhere", "Doppel virtual CPU (host)", features.With(CpuFeature.Rdpid));
    }

    /// <summary>The same for a host with the given features.</summary>
    internal static void EnsureSupported(CpuModel model, Func<CpuFeature, bool> hostHas)
    {
        string[] missing = Missing(model, hostHas);
        if (missing.Length == 0)
            return;
        IEnumerable<string> usable = All.Where(m => Missing(m, hostHas).Length == 0).Select(m => m.Name);
        throw new CpuModelException(
            $"CPU model '{model.Name}' needs {string.Join(", ", missing)}, which this host's CPU does not have; models that it can run: {string.Join(", ", usable)}");
    }

    private static string[] Missing(CpuModel model, Func<CpuFeature, bool> hostHas) =>
        [.. model.Features.Select(CpuFeatureCatalog.Of).Where(i => i.NeedsHost && !hostHas(i.Feature)).Select(i => i.Name)];

    private static CpuModel Create(string name, string description, string brand, CpuFeatureSet features) => new()
    {
        Name = name,
        Description = description,
        BrandString = brand,
        Signature = CommonSignature,
        PhysicalAddressBits = CommonPhysicalAddressBits,
        Has1GiBPages = features.Has(CpuFeature.Pdpe1Gb),
        Features = features,
    };
}
