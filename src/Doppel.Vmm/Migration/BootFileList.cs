using System.Security.Cryptography;

namespace Doppel.Vmm.Migration;

/// <summary>The files that a machine boots from, which must be at the target for its next reset.</summary>
internal static class BootFileList
{
    /// <summary>Those of a machine, as they are.</summary>
    /// <exception cref="MigrationException">One can't be read.</exception>
    internal static IReadOnlyList<OfferedFile> Of(MachineSpec spec) => [.. Paths(spec).Select(path => Describe(path) ?? throw new MigrationException($"{path}: the machine boots from this file, and it can't be read"))];

    /// <summary>Numbers of the files that are not there as the source has them.</summary>
    internal static IReadOnlyList<int> Missing(IReadOnlyList<OfferedFile> files) => [.. Enumerable.Range(0, files.Count).Where(i => Describe(files[i].Path) != files[i])];

    /// <summary>The same machine with other paths for some of its files.</summary>
    internal static MachineSpec With(MachineSpec spec, IReadOnlyDictionary<int, string> paths) => spec with
    {
        Kernel = paths.GetValueOrDefault(0, spec.Kernel),
        Initrd = spec.Initrd is null ? null : paths.GetValueOrDefault(1, spec.Initrd),
    };

    /// <summary>Names for copies of the files.</summary>
    internal static string CopyName(int number) => number == 0 ? "kernel" : "initrd";

    private static IEnumerable<string> Paths(MachineSpec spec) => spec.Initrd is string initrd ? [spec.Kernel, initrd] : [spec.Kernel];

    private static OfferedFile? Describe(string path)
    {
        try
        {
            using FileStream file = File.OpenRead(path);
            return new OfferedFile(path, file.Length, Convert.ToHexStringLower(SHA256.HashData(file)));
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return null;
        }
    }
}
