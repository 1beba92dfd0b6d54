using Doppel.Engines.Kvm;
using Doppel.Machine.Cpu.Models;
using Doppel.Vmm;
using Doppel.Vmm.Images;

namespace Doppel.Guests;

/// <summary>
/// The machine that tests start from. <c>DOPPEL_TEST_ENGINE</c> names the engine of those that don't ask for one
/// (<c>./test --engine NAME</c>); without it they have the default one.
/// </summary>
internal static class TestedMachine
{
    /// <summary>Name of the engine.</summary>
    internal static string Engine { get; } = Environment.GetEnvironmentVariable("DOPPEL_TEST_ENGINE") is { Length: > 0 } name ? name : EngineNames.Default;

    // An emulated host of KVM lacks what later models have.
    private static readonly Lazy<string> Model = new(() => HasModel(CpuModels.Version2.Name) ? CpuModels.Version2.Name : CpuModels.Version2Compat.Name);

    /// <summary>A machine for an image's guest.</summary>
    internal static MachineSpec Describe(GuestImage image) => MachineSpec.ForImage(image) with { Engine = Engine, CpuModel = Model.Value };

    /// <summary>Whether the engine can give a guest a CPU model here.</summary>
    internal static bool HasModel(string name) => Engine != EngineNames.Kvm || KvmMachine.FindModels().Any(model => model.Name == name);
}
