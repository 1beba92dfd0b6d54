using Doppel.Machine.Cpu.Models;
using Doppel.Vmm.Execution;

namespace Doppel.Vmm.Migration;

/// <summary>Finds out whether this side can run the source's machine, before a byte of its memory is sent.</summary>
internal static class Compatibility
{
    /// <summary>Compares what can be compared before the machine is made here.</summary>
    /// <exception cref="MigrationException">Something differs; the message names it.</exception>
    internal static void Check(MachineOffer offer)
    {
        if (offer.Version != MachineOffer.CurrentVersion)
            throw new MigrationException($"the source speaks version {offer.Version} of the protocol, the target {MachineOffer.CurrentVersion}; the same Doppel on both would be right");
        MachineSpec spec = offer.Machine;
        if (spec.Clock != ClockKind.Host)
            throw new MigrationException("the machine's time is counted in instructions; a machine on the host's clock can be moved");
        CpuModel model;
        try
        {
            spec.Validate();
            model = CpuModels.Find(spec.CpuModel);
        }
        catch (Exception e) when (e is SpecException or CpuModelException)
        {
            throw new MigrationException($"the target can't run this machine: {e.Message}", e);
        }

        IReadOnlyList<string> here = FeatureNames.Of(model);
        string[] lacking = [.. offer.CpuFeatures.Except(here)], more = [.. here.Except(offer.CpuFeatures)];
        if (lacking.Length != 0 || more.Length != 0)
        {
            string lacks = lacking.Length == 0 ? "" : $" lacks {string.Join(", ", lacking)}", has = more.Length == 0 ? "" : $" also has {string.Join(", ", more)}";
            throw new MigrationException($"CPU model {spec.CpuModel} differs: at the target it{lacks}{(lacks.Length != 0 && has.Length != 0 ? " and" : "")}{has}; a model that is the same on both hosts, such as x86-64-v2, would be right");
        }
    }

    /// <summary>Compares the parts of the machine that was made here.</summary>
    /// <exception cref="MigrationException">They differ; the message names them.</exception>
    internal static void Check(MachineOffer offer, PcMachine machine)
    {
        Dictionary<string, int> here = machine.Sections.ToDictionary(part => part.SectionName, part => part.SectionVersion, StringComparer.Ordinal);
        var wrong = new List<string>();
        foreach (OfferedPart part in offer.Parts)
        {
            if (!here.Remove(part.Name, out int version))
                wrong.Add($"{part.Name} is missing at the target");
            else if (part.Version > version)
                wrong.Add($"{part.Name} has version {part.Version} at the source and {version} at the target");
        }

        wrong.AddRange(here.Keys.Select(name => $"{name} is missing at the source"));
        if (wrong.Count != 0)
            throw new MigrationException($"the machines' devices differ: {string.Join("; ", wrong)}; the same Doppel on both hosts, or a newer one at the target, would be right");
    }
}
