using Doppel.Devices.Storage.Images;

namespace Doppel.Vmm;

/// <summary>The paths in a specification, for one that another process will read.</summary>
public static class MachinePaths
{
    private const string Variables = "variables";

    /// <summary>Where a machine keeps UEFI's variables that has a folder of its own: in a folder in which nothing else is.</summary>
    /// <param name="folder">The machine's folder.</param>
    public static string VariablesIn(string folder) => Path.Combine(folder, "firmware", Variables);

    /// <summary>The same machine with a file of its own for UEFI's variables, if it keeps them in one, which come with its state.</summary>
    /// <param name="spec">The machine at the source.</param>
    /// <param name="folder">Where what comes along is kept.</param>
    /// <param name="migration">The migration: one that comes to nothing leaves what was there.</param>
    public static MachineSpec WithVariablesCopiedTo(this MachineSpec spec, string folder, Guid migration)
    {
        ArgumentNullException.ThrowIfNull(spec);
        return spec.FirmwareVariables is null ? spec : spec with { FirmwareVariables = Path.Combine(folder, $"firmware-{migration.ToString("N")[..8]}", Variables) };
    }

    /// <summary>The same machine when its folder has another name: its kernel, disks, firmware's files and what it prints, as far as they are in the folder.</summary>
    /// <param name="spec">The machine.</param>
    /// <param name="from">The folder as it was.</param>
    /// <param name="to">The folder as it is.</param>
    public static MachineSpec Moved(this MachineSpec spec, string from, string to)
    {
        ArgumentNullException.ThrowIfNull(spec);
        string? Place(string? path) => path is null ? null : PathMoved(path, from, to);
        return spec with
        {
            Kernel = PathMoved(spec.Kernel, from, to),
            Initrd = Place(spec.Initrd),
            FirmwareFile = Place(spec.FirmwareFile),
            FirmwareVariables = Place(spec.FirmwareVariables),
            Parallel = Place(spec.Parallel),
            Disks = [.. spec.Disks.Select(disk => disk with { Path = PathMoved(disk.Path, from, to), Overlay = Place(disk.Overlay) })],
        };
    }

    /// <summary>A path, when a folder in which it may be has another name.</summary>
    public static string PathMoved(string path, string from, string to)
    {
        ArgumentNullException.ThrowIfNull(path);
        ArgumentNullException.ThrowIfNull(from);
        return IsInside(path, from) ? to + path[from.Length..] : path;
    }

    /// <summary>True for the path of what is in a folder.</summary>
    public static bool IsInside(string path, string folder)
    {
        ArgumentNullException.ThrowIfNull(path);
        return path.StartsWith(folder + "/", StringComparison.Ordinal);
    }

    /// <summary>The same machine with absolute paths: those that are relative are taken from a directory.</summary>
    /// <param name="spec">The machine.</param>
    /// <param name="directory">The directory; null for the process's.</param>
    public static MachineSpec WithFullPaths(this MachineSpec spec, string? directory = null)
    {
        ArgumentNullException.ThrowIfNull(spec);
        directory ??= Environment.CurrentDirectory;
        string Full(string path) => path.Length == 0 || Overlays.IsAddress(path) ? path : Path.GetFullPath(path, directory);
        return spec with
        {
            Kernel = Full(spec.Kernel),
            Vnc = spec.Vnc is { PasswordFile: string password } vnc ? vnc with { PasswordFile = Full(password) } : spec.Vnc,
            FirmwareFile = spec.FirmwareFile is null ? null : Full(spec.FirmwareFile),
            FirmwareVariables = spec.FirmwareVariables is null ? null : Full(spec.FirmwareVariables),
            Parallel = spec.Parallel is null ? null : Full(spec.Parallel),
            Initrd = spec.Initrd is null ? null : Full(spec.Initrd),
            Disks = [.. spec.Disks.Select(disk => disk with { Path = Full(disk.Path), Overlay = disk.Overlay is null ? null : Full(disk.Overlay) })],
            Volumes = [.. spec.Volumes.Select(volume => volume with { HostPath = Full(volume.HostPath) })],
        };
    }
}
