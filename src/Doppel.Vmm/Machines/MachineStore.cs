using System.Text.Json;
using Doppel.Devices.Storage.Images;
using Doppel.Host;
using Doppel.Host.Files;
using Doppel.Vmm.Images;

namespace Doppel.Vmm.Machines;

/// <summary>
/// The machines that are kept between runs, one directory each. A machine has its own names for its image's files (hard
/// links, or copies where the cache is on another file system), so an image can be made anew or removed under it.
/// </summary>
/// <param name="directory">Where they are; nothing is created before it is needed.</param>
public sealed class MachineStore(string directory)
{
    /// <summary>Where the machines are.</summary>
    public string Root { get; } = Path.Combine(directory, "machines");

    /// <summary>Where Doppel keeps what belongs to all of this user's machines.</summary>
    public string StateDirectory { get; } = directory;

    /// <summary>This user's: $XDG_STATE_HOME/doppel, or ~/.local/state/doppel (XDG Base Directory Specification 0.8).</summary>
    public static MachineStore ForUser()
    {
        string? state = Environment.GetEnvironmentVariable("XDG_STATE_HOME");
        if (string.IsNullOrEmpty(state) || !Path.IsPathRooted(state))
            state = Path.Combine(Environment.GetFolderPath(Environment.SpecialFolder.UserProfile), ".local", "state");
        return new MachineStore(Path.Combine(state, "doppel"));
    }

    /// <summary>The machines, by name. Directories without a readable description are left out.</summary>
    public IReadOnlyList<KeptMachine> List() => !Directory.Exists(Root)
        ? []
        : [.. Directory.EnumerateDirectories(Root).Select(d => Path.GetFileName(d)).Where(n => !n.StartsWith('.')).Order(StringComparer.Ordinal).Select(Find).OfType<KeptMachine>()];

    /// <summary>A machine by name; null when there is none.</summary>
    /// <exception cref="SpecException">The name is no machine name.</exception>
    public KeptMachine? Find(string name)
    {
        string path = DirectoryOf(name);
        try
        {
            using FileStream stream = File.OpenRead(Path.Combine(path, KeptMachineDescription.FileName));
            return JsonSerializer.Deserialize(stream, KeptMachineJson.Default.KeptMachineDescription) is KeptMachineDescription description
                ? new KeptMachine(path, description)
                : null;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or JsonException)
        {
            return null;
        }
    }

    /// <summary>Makes a machine from an image with a root disk. It appears whole.</summary>
    /// <param name="name">Its name, which no machine has.</param>
    /// <param name="image">The image.</param>
    /// <exception cref="SpecException">The name is no machine name.</exception>
    /// <exception cref="IOException">It can't be made; the message says why.</exception>
    public KeptMachine Create(string name, GuestImage image)
    {
        ArgumentNullException.ThrowIfNull(image);
        if (image.DiskPath is not string disk)
            throw new ArgumentException($"the image {image.Name} has no root disk", nameof(image));
        string path = DirectoryOf(name);
        string work = Path.Combine(Root, $".{name}.{Guid.NewGuid():N}");
        try
        {
            _ = Directory.CreateDirectory(work, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
            var machine = new KeptMachine(work, new KeptMachineDescription
            {
                Image = image.Name,
                ImageCreated = image.Manifest.Created,
                Created = DateTimeOffset.UtcNow,
                Id = Guid.NewGuid(),
                CommandLine = image.Manifest.CommandLine,
            });
            if (!HostFile.TryLink(disk, machine.BasePath))
                Copy(disk, machine.BasePath);
            if (!HostFile.TryLink(image.KernelPath, machine.KernelPath))
                File.Copy(image.KernelPath, machine.KernelPath);
            if (File.Exists(image.InitrdPath) && !HostFile.TryLink(image.InitrdPath, machine.InitrdPath))
                File.Copy(image.InitrdPath, machine.InitrdPath);
            using (FileStream stream = File.Create(Path.Combine(work, KeptMachineDescription.FileName)))
                JsonSerializer.Serialize(stream, machine.Description, KeptMachineJson.Default.KeptMachineDescription);
            Directory.Move(work, path);
            return machine with { Directory = path };
        }
        catch (Exception e) when (e is UnauthorizedAccessException or HostException)
        {
            throw new IOException($"{Root}: the machine {name} can't be made: {e.Message}", e);
        }
        finally
        {
            if (Directory.Exists(work))
                Directory.Delete(work, recursive: true);
        }
    }

    /// <summary>Removes a machine and all that it has written; false when there was none.</summary>
    /// <exception cref="IOException">It is running.</exception>
    public bool Remove(string name)
    {
        if (Find(name) is not KeptMachine machine)
            return false;
        if (IsRunning(machine))
            throw new IOException($"the machine {name} is running; it can be removed when it has ended");
        // Renamed first, so that nobody finds half a machine.
        string trash = Path.Combine(Root, $".{name}.{Guid.NewGuid():N}");
        Directory.Move(machine.Directory, trash);
        Directory.Delete(trash, recursive: true);
        return true;
    }

    // Its lock tells; the image itself may be damaged.
    private static bool IsRunning(KeptMachine machine)
    {
        if (!File.Exists(machine.OverlayPath))
            return false;
        try
        {
            using Doppel.Devices.Storage.Images.ImageFile file = Doppel.Devices.Storage.Images.ImageFile.Open(machine.OverlayPath, isReadOnly: false);
            return false;
        }
        catch (DiskImageException)
        {
            return true;
        }
    }

    private static void Copy(string source, string target)
    {
        using DiskImage image = DiskImages.Open(source, new DiskOpenOptions { Format = DiskFormat.Raw, IsReadOnly = true });
        DiskImages.Create(target, new DiskCreateOptions { Format = DiskFormat.Raw, Length = image.Length });
        using DiskImage copy = DiskImages.Open(target, new DiskOpenOptions { Format = DiskFormat.Raw });
        DiskConverter.Copy(image, copy, _ => { }, CancellationToken.None);
    }

    private string DirectoryOf(string name)
    {
        if (!MachineSpecValidation.IsName(name) || name.StartsWith('.'))
            throw new SpecException("name", $"--name \"{name}\": 1 to {MachineSpec.MaximumName} letters, digits, dots, dashes and underscores, not only digits, would be right");
        return Path.Combine(Root, name);
    }
}
