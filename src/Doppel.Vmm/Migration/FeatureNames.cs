using Doppel.Machine.Cpu.Models;

namespace Doppel.Vmm.Migration;

/// <summary>What a CPU model has, by name.</summary>
internal static class FeatureNames
{
    /// <summary>The names of a model's features.</summary>
    internal static IReadOnlyList<string> Of(CpuModel model) => [.. model.Features.Select(feature => CpuFeatureCatalog.Of(feature).Name)];
}
