using Doppel.Machine.State;
using Doppel.Vmm.Execution;

namespace Doppel.Vmm.Snapshots;

/// <summary>Saves and restores everything of a machine but its memory and disks. The machine stands still.</summary>
internal static class MachineSections
{
    /// <summary>Saves every part.</summary>
    internal static List<SavedSection> Save(PcMachine machine)
    {
        var sections = new List<SavedSection>();
        lock (machine.IoLock)
        {
            foreach (IStateful part in machine.Sections)
            {
                var writer = new StateWriter();
                part.Save(writer);
                sections.Add(new SavedSection(part.SectionName, part.SectionVersion, writer.ToArray()));
            }
        }

        return sections;
    }

    /// <summary>Restores every part; memory must be in place. The machine is of no use after an exception.</summary>
    /// <param name="machine">A machine that was not booted.</param>
    /// <param name="sections">As <see cref="Save"/> made them.</param>
    /// <param name="upgrades">What brings older ones up.</param>
    /// <exception cref="SnapshotException">A section is missing, foreign, of an unknown version or damaged; it is named.</exception>
    internal static void Restore(PcMachine machine, IReadOnlyList<SavedSection> sections, SectionUpgrades upgrades)
    {
        Dictionary<string, SavedSection> byName = sections.ToDictionary(section => section.Name, StringComparer.Ordinal);
        foreach (IStateful part in machine.Sections)
        {
            if (!byName.ContainsKey(part.SectionName))
                throw new SnapshotException($"section {part.SectionName} is missing; this machine has that part, so the snapshot is another machine's or was made by another Doppel", part.SectionName);
        }

        HashSet<string> known = [.. machine.Sections.Select(part => part.SectionName)];
        if (sections.FirstOrDefault(section => !known.Contains(section.Name)) is SavedSection foreign)
            throw new SnapshotException($"section {foreign.Name} is of a part that this machine doesn't have; the snapshot is another machine's or was made by another Doppel", foreign.Name);
        lock (machine.IoLock)
        {
            foreach (IStateful part in machine.Sections)
                Restore(part, upgrades.Raise(byName[part.SectionName], part.SectionVersion));
        }
    }

    private static void Restore(IStateful part, SavedSection section)
    {
        var reader = new StateReader(section.Bytes);
        try
        {
            part.Restore(reader, section.Version);
        }
        catch (InvalidDataException e)
        {
            throw new SnapshotException($"section {section.Name} can't be restored: {e.Message}", section.Name, e);
        }

        if (!reader.IsAtEnd)
            throw new SnapshotException($"section {section.Name} has more bytes than version {section.Version} of it", section.Name);
    }
}
