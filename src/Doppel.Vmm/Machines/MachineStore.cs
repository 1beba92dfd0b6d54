using System.Text.Json;
using Doppel.Devices.Storage.Images;
using Doppel.Host;
using Doppel.Host.Files;
using Doppel.Vmm.Images;

namespace Doppel.Vmm.Machines;

/// <summary>
/// The machines that are kept between runs: for each a folder in its state, beside its snapshots. A machine has its own
/// names for its image's files (hard links, or copies where the cache is on another file system), so an image can be made
/// anew or removed under it.
/// </summary>
/// <param name="state">Where machines' state is; nothing is created before it is needed.</param>
public sealed class MachineStore(StateDirectory state)
{
    private const string Folder = "system";

    /// <summary>This user's.</summary>
    public static MachineStore ForUser() => new(StateDirectory.ForUser());

    /// <summary>Where the state of all of the user's machines is.</summary>
    public StateDirectory State { get; } = state;

    private string Root => Path.Combine(State.Path, "machines");

    /// <summary>The machines, by name. Directories without a readable description are left out.</summary>
    public IReadOnlyList<KeptMachine> List() => !Directory.Exists(Root)
        ? []
        : [.. Directory.EnumerateDirectories(Root).Select(d => Path.GetFileName(d)).Where(MachineSpecValidation.IsName).Order(StringComparer.Ordinal).Select(Find).OfType<KeptMachine>()];

    /// <summary>A machine by name; null when there is none.</summary>
    /// <exception cref="SpecException">The name is no machine name.</exception>
    public KeptMachine? Find(string name)
    {
        string path = DirectoryOf(name);
        try
        {
            using FileStream stream = File.OpenRead(Path.Combine(path, KeptMachineDescription.FileName));
            return JsonSerializer.Deserialize(stream, KeptMachineJson.Default.KeptMachineDescription) is KeptMachineDescription description
                ? new KeptMachine(name, path, description)
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
        string work = $"{path}.{Guid.NewGuid():N}";
        try
        {
            _ = Directory.CreateDirectory(work, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
            var machine = new KeptMachine(name, work, new KeptMachineDescription
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
            throw new IOException($"{path}: the machine {name} can't be made: {e.Message}", e);
        }
        finally
        {
            if (Directory.Exists(work))
                Directory.Delete(work, recursive: true);
        }
    }

    /// <summary>Removes a machine and all that it has written, but no snapshot of its; false when there was none.</summary>
    /// <exception cref="IOException">It is running.</exception>
    public bool Remove(string name)
    {
        if (Find(name) is not KeptMachine machine)
            return false;
        if (IsRunning(machine))
            throw new IOException($"the machine {name} is running; it can be removed when it has ended");
        // Renamed first, so that nobody finds half a machine.
        string trash = $"{machine.Directory}.{Guid.NewGuid():N}", folder = Path.GetDirectoryName(trash)!;
        Directory.Move(machine.Directory, trash);
        Directory.Delete(trash, recursive: true);
        if (!Directory.EnumerateFileSystemEntries(folder).Any())
            Directory.Delete(folder);
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

    private string DirectoryOf(string name) => Path.Combine(State.FolderOf(name), Folder);
}
