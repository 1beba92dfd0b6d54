using System.Text;
using Doppel.Devices.Storage.Images;
using Doppel.Host.Files;
using Doppel.Vmm.Snapshots;

namespace Doppel.Vmm.Machines;

/// <summary>
/// Gives a kept machine's folder another name, and what is in it the paths that follow from that: the images that its disks have
/// behind them, its snapshots, its suspended state. What a crash leaves undone is done by whoever finds the folder next.
/// </summary>
public static class MachineRename
{
    private const string Mark = "renamed-from";
    private static readonly EnumerationOptions Own = new() { RecurseSubdirectories = true, AttributesToSkip = FileAttributes.ReparsePoint };
    private static readonly EnumerationOptions OwnHere = new() { AttributesToSkip = FileAttributes.ReparsePoint };

    /// <summary>Moves the folder. The machine doesn't run, and nobody else's disk has an image of the folder behind it.</summary>
    /// <param name="from">The folder.</param>
    /// <param name="to">Its next path, where nothing is.</param>
    /// <exception cref="IOException">The host refuses.</exception>
    public static void Begin(string from, string to)
    {
        AtomicFile.Write(Path.Combine(from, Mark), Encoding.UTF8.GetBytes(from));
        Directory.Move(from, to);
    }

    /// <summary>The path that a folder had whose renaming isn't complete; null for others.</summary>
    public static string? Unfinished(string folder)
    {
        string mark = Path.Combine(folder, Mark);
        return File.Exists(mark) ? File.ReadAllText(mark) : null;
    }

    /// <summary>Changes the paths in a folder that <see cref="Begin"/> has moved, then forgets that it was. May be repeated.</summary>
    /// <param name="folder">The folder.</param>
    /// <exception cref="IOException">The host refuses.</exception>
    public static void Complete(string folder)
    {
        if (Unfinished(folder) is not string from)
            return;
        if (from != folder)
        {
            IReadOnlyList<string> states = [.. StatesIn(folder)];
            // By the times of files that the next step changes.
            List<string> unchanged = [.. states.Where(state => DiskStamps.AreTrue(state, path => MachinePaths.PathMoved(path, from, folder)))];
            foreach (string image in Directory.EnumerateFiles(folder, "*.qcow2", Own))
                MoveBacking(image, from, folder);
            foreach (string state in states)
                MovedSnapshot.Rewrite(state, from, folder);
            foreach (string state in unchanged)
                DiskStamps.Renew(state, path => MachinePaths.PathMoved(path, from, folder));
        }

        File.Delete(Path.Combine(folder, Mark));
    }

    private static IEnumerable<string> StatesIn(string folder)
    {
        foreach (string store in (string[])[Path.Combine(folder, StateDirectory.SnapshotsFolder), Path.Combine(folder, StateDirectory.SuspendedFolder)])
        {
            foreach (string state in Directory.Exists(store) ? Directory.EnumerateDirectories(store, "*", OwnHere) : [])
                yield return state;
        }
    }

    private static void MoveBacking(string image, string from, string to)
    {
        try
        {
            ImageInformation now = ImageInformation.Read(image, DiskFormat.Qcow2, isShared: true);
            if (now.Backing is string name && MachinePaths.IsInside(name, from))
                Overlays.Rebase(image, MachinePaths.PathMoved(name, from, to), now.BackingFormat is string format ? DiskFormats.Find(format) : null, isHeaderOnly: true, null, CancellationToken.None);
        }
        catch (DiskImageException)
        {
            // It is damaged, of which whoever uses it hears.
        }
    }
}
