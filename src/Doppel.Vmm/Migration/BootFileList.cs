using System.Globalization;
using System.Security.Cryptography;

namespace Doppel.Vmm.Migration;

/// <summary>The files that a machine boots from, which must be at the target for its next reset: a kernel, an initial RAM disk, a firmware's ROM that the user has given.</summary>
public static class BootFileList
{
    private static readonly Slot[] Slots =
    [
        new("kernel", spec => spec.Kernel.Length == 0 ? null : spec.Kernel, (spec, path) => spec with { Kernel = path }),
        new("initrd", spec => spec.Initrd, (spec, path) => spec with { Initrd = path }),
        new("firmware", spec => spec.FirmwareFile, (spec, path) => spec with { FirmwareFile = path }),
    ];

    /// <summary>The path of a copy that comes along with a migration.</summary>
    /// <param name="folder">Where copies are kept.</param>
    /// <param name="kind">The file: "kernel", "initrd" or "firmware".</param>
    /// <param name="id">The migration: what an earlier one has brought stays.</param>
    public static string CopyPath(string folder, string kind, Guid id) => Path.Combine(folder, string.Create(CultureInfo.InvariantCulture, $"{kind}-{id.ToString("N")[..8]}"));

    /// <summary>The kinds of the files that are copies of a migration.</summary>
    /// <param name="spec">The machine at the target.</param>
    /// <param name="folder">Where copies are kept.</param>
    /// <param name="id">The migration.</param>
    public static IReadOnlyList<string> CopiesOf(MachineSpec spec, string folder, Guid id) => [.. Slots.Where(slot => slot.Get(spec) == CopyPath(folder, slot.Kind, id)).Select(slot => slot.Kind)];

    /// <summary>The same machine with copies instead of some of its files.</summary>
    /// <param name="spec">The machine.</param>
    /// <param name="kinds">Which.</param>
    /// <param name="folder">Where copies are kept.</param>
    /// <param name="id">The migration.</param>
    public static MachineSpec WithCopies(MachineSpec spec, IEnumerable<string> kinds, string folder, Guid id)
    {
        ArgumentNullException.ThrowIfNull(kinds);
        foreach (Slot slot in Slots.Where(slot => kinds.Contains(slot.Kind)))
            spec = slot.Get(spec) is null ? spec : slot.Set(spec, CopyPath(folder, slot.Kind, id));
        return spec;
    }

    /// <summary>Those of a machine, as they are.</summary>
    /// <exception cref="MigrationException">One can't be read.</exception>
    internal static IReadOnlyList<OfferedFile> Of(MachineSpec spec) => [.. Of(spec, slot => slot.Get(spec)!).Select(path => Describe(path) ?? throw new MigrationException($"{path}: the machine boots from this file, and it can't be read"))];

    /// <summary>Their kinds, in the same order.</summary>
    internal static IReadOnlyList<string> KindsOf(MachineSpec spec) => [.. Of(spec, slot => slot.Kind)];

    /// <summary>Numbers of the files that are not there as the source has them, or won't stay.</summary>
    /// <param name="files">The files.</param>
    /// <param name="passing">A folder that goes with the machine at the source; null for none.</param>
    internal static IReadOnlyList<int> Missing(IReadOnlyList<OfferedFile> files, string? passing) =>
        [.. Enumerable.Range(0, files.Count).Where(i => (passing is not null && files[i].Path.StartsWith(passing + "/", StringComparison.Ordinal)) || Describe(files[i].Path) != files[i])];

    private static IEnumerable<string> Of(MachineSpec spec, Func<Slot, string> select) => Slots.Where(slot => slot.Get(spec) is not null).Select(select);

    private static OfferedFile? Describe(string path)
    {
        try
        {
            using FileStream file = File.OpenRead(path);
            return new OfferedFile(path, file.Length, Convert.ToHexStringLower(SHA256.HashData(file)));
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or ArgumentException)
        {
            return null;
        }
    }

    private sealed record Slot(string Kind, Func<MachineSpec, string?> Get, Func<MachineSpec, string, MachineSpec> Set);
}
