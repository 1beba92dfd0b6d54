namespace Doppel.Vmm.Snapshots;

/// <summary>
/// Turns sections of older versions into those that devices write now, one version at a time, so that a device knows only
/// its own and a snapshot of an earlier Doppel restores. A device that still reads older versions itself needs no entry.
/// </summary>
/// <param name="steps">The kind of section (its name without the number at its end), the version that is read, and what makes the next version of its bytes.</param>
public sealed class SectionUpgrades(IEnumerable<(string Kind, int From, Func<byte[], byte[]> Upgrade)> steps)
{
    private readonly Dictionary<(string, int), Func<byte[], byte[]>> _steps = steps.ToDictionary(step => (step.Kind, step.From), step => step.Upgrade);

    /// <summary>Those of this Doppel: no section has changed in a way that its device doesn't read itself.</summary>
    public static SectionUpgrades Known { get; } = new([]);

    /// <summary>Brings a section as far up as there are steps; at most to a version.</summary>
    /// <param name="section">The section as it was saved.</param>
    /// <param name="version">The version that the device writes.</param>
    internal SavedSection Raise(SavedSection section, int version)
    {
        string kind = section.Name.TrimEnd('0', '1', '2', '3', '4', '5', '6', '7', '8', '9');
        while (section.Version < version && _steps.TryGetValue((kind, section.Version), out Func<byte[], byte[]>? upgrade))
            section = new SavedSection(section.Name, section.Version + 1, upgrade(section.Bytes));
        return section;
    }
}
