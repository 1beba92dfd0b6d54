using Doppel.Devices.Storage.Images;

namespace Doppel.Vmm;

/// <summary>The paths in a specification, for one that another process will read.</summary>
public static class MachinePaths
{
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
            Initrd = spec.Initrd is null ? null : Full(spec.Initrd),
            Disks = [.. spec.Disks.Select(disk => disk with { Path = Full(disk.Path), Overlay = disk.Overlay is null ? null : Full(disk.Overlay) })],
            Volumes = [.. spec.Volumes.Select(volume => volume with { HostPath = Full(volume.HostPath) })],
        };
    }
}
