namespace Doppel.Vmm.Snapshots;

/// <summary>What is in a snapshot's folder.</summary>
public static class SnapshotFolder
{
    /// <summary>The manifest.</summary>
    public const string ManifestFile = "manifest.json";

    /// <summary>The manifest's checksum, as sha256sum writes it.</summary>
    public const string ChecksumFile = "manifest.sha256";

    /// <summary>The sections, one behind the other.</summary>
    public const string SectionsFile = "sections";

    /// <summary>Guest memory: a sparse file whose offsets are guest-physical addresses.</summary>
    public const string MemoryFile = "memory";

    /// <summary>Which pages of memory a machine touched first when it went on from here (<see cref="WorkingSet"/>); may be missing.</summary>
    public const string WorkingSetFile = "working-set";

    /// <summary>Longest name of a snapshot.</summary>
    public const int MaximumName = 64;

    /// <summary>True for what a snapshot can be called: letters, digits, dots, dashes and underscores, not beginning with a dot.</summary>
    public static bool IsName(string name)
    {
        ArgumentNullException.ThrowIfNull(name);
        return name.Length is >= 1 and <= MaximumName && name[0] != '.' && name.All(c => char.IsAsciiLetterOrDigit(c) || c is '.' or '-' or '_');
    }
}
