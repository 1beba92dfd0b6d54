using System.Globalization;
using Doppel.Engines.Kvm;
using Doppel.Host;
using Doppel.Host.Kvm;
using Doppel.Machine.Cpu.Models;

namespace Doppel.Vmm;

/// <summary>
/// The engine that a machine gets on this host: what was asked for, or with <see cref="EngineNames.Auto"/> KVM where it serves and
/// <see cref="EngineNames.Default"/> elsewhere.
/// </summary>
/// <param name="Spec">The machine with an engine of <see cref="EngineNames.All"/>, and what that engine needs of it.</param>
/// <param name="Reason">Why <see cref="EngineNames.Auto"/> didn't give KVM: one line; null when it did or wasn't asked for.</param>
public sealed record EngineChoice(MachineSpec Spec, string? Reason)
{
    /// <summary>Chooses.</summary>
    /// <param name="spec">What was asked for.</param>
    /// <param name="isNew">True for a machine that hasn't run yet: its CPU model, unless it was chosen, and the rate of its TSC may still be adapted to KVM.</param>
    /// <param name="kvmPath">KVM's device.</param>
    /// <exception cref="SpecException">KVM was asked for and can't run the machine; the message says why.</exception>
    public static EngineChoice Make(MachineSpec spec, bool isNew, string kvmPath = KvmDevice.DefaultPath)
    {
        ArgumentNullException.ThrowIfNull(spec);
        if (spec.Engine is not (EngineNames.Auto or EngineNames.Kvm))
            return new EngineChoice(spec, null);
        if (TryKvm(spec, isNew, kvmPath, out string? obstacle) is MachineSpec fitted)
            return new EngineChoice(fitted, null);
        if (spec.Engine == EngineNames.Kvm)
            throw new SpecException("engine", $"--engine kvm: {obstacle}; another engine ({EngineNames.Auto} takes {EngineNames.Default} here) would be right");
        return new EngineChoice(spec with { Engine = EngineNames.Default }, $"the engine is {EngineNames.Default}: {obstacle}");
    }

    private static MachineSpec? TryKvm(MachineSpec spec, bool isNew, string kvmPath, out string? obstacle)
    {
        if (spec.Clock == ClockKind.Instructions)
        {
            obstacle = "KVM can't count instructions, which --clock instructions needs";
            return null;
        }

        obstacle = KvmProbe.FindObstacle(kvmPath);
        if (obstacle is not null)
            return null;
        try
        {
            IReadOnlyList<CpuModel> models = KvmMachine.FindModels(kvmPath);
            string model = spec.CpuModel;
            if (!models.Any(able => string.Equals(able.Name, model, StringComparison.OrdinalIgnoreCase)))
            {
                // The default is no choice of the user's that must be kept.
                if (!isNew || spec.Engine != EngineNames.Auto || model != CpuModels.Version2.Name || !models.Contains(CpuModels.Version2Compat))
                {
                    obstacle = $"this host's KVM can't give a guest all of CPU model {model}; models that it can: {string.Join(", ", models.Select(able => able.Name))}";
                    return null;
                }

                model = CpuModels.Version2Compat.Name;
            }

            ulong? frequency = spec.TscFrequency;
            if (KvmMachine.FindFixedTscFrequency(kvmPath) is ulong host)
            {
                if (isNew && frequency is null)
                    frequency = host;
                if (!KvmMachine.IsSameFrequency(host, frequency ?? MachineSpec.DefaultTscFrequency))
                {
                    obstacle = string.Create(
                        CultureInfo.InvariantCulture,
                        $"this host's processor can't change the rate of a guest's TSC, which is {host / 1_000_000.0:0.000} MHz here; the machine's is {(frequency ?? MachineSpec.DefaultTscFrequency) / 1_000_000.0:0.000} MHz");
                    return null;
                }
            }

            return spec with { Engine = EngineNames.Kvm, CpuModel = model, TscFrequency = frequency };
        }
        catch (HostException e)
        {
            obstacle = $"{kvmPath} is no usable KVM: {e.Message}";
            return null;
        }
    }
}
