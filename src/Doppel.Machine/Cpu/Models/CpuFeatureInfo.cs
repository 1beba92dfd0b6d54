namespace Doppel.Machine.Cpu.Models;

/// <summary>Where CPUID shows a feature, and what it is called.</summary>
/// <param name="Feature">The feature.</param>
/// <param name="Leaf">EAX for CPUID.</param>
/// <param name="Subleaf">ECX for CPUID.</param>
/// <param name="Register">The register that holds the bit.</param>
/// <param name="Bit">0 to 31.</param>
/// <param name="Name">The name that Linux shows in /proc/cpuinfo.</param>
/// <param name="Description">A few words, without a full stop.</param>
/// <param name="NeedsHost">True when the engines execute its instructions on the host's CPU, which must therefore have it too.</param>
public sealed record CpuFeatureInfo(
    CpuFeature Feature,
    uint Leaf,
    uint Subleaf,
    CpuidRegister Register,
    int Bit,
    string Name,
    string Description,
    bool NeedsHost);
