using System.Globalization;
using System.Text.Json;
using System.Text.Json.Serialization;
using Doppel.Devices.Storage.Images;
using Doppel.Host.Files;

namespace Doppel.Vmm.Snapshots;

/// <summary>
/// What the files of a suspended machine's disks were like when it had closed them: whoever changes one meanwhile takes from
/// the guest what it believes of its file systems.
/// </summary>
internal static class DiskStamps
{
    private const string FileName = "disks.json";

    /// <summary>Writes them beside the suspended state. The disks are closed.</summary>
    internal static void Write(string folder, IEnumerable<DiskSpec> disks) => Write(
        folder,
        disks.Where(disk => disk is { IsReadOnly: false, IsEphemeral: false }).Select(disk => disk.Overlay ?? disk.Path)
            .Where(path => !Overlays.IsAddress(path)).Select(Path.GetFullPath).Where(File.Exists).Select(Look));

    /// <summary>Compares them with what the files are like now; where there are none, there is nothing to compare.</summary>
    /// <exception cref="SnapshotException">A disk has been changed.</exception>
    internal static void Verify(string folder, IEnumerable<DiskEntry> disks)
    {
        if (Read(folder) is not DiskStamp[] stamps)
            return;
        string file = Path.Combine(folder, FileName);
        foreach (DiskStamp then in stamps.Where(stamp => disks.Any(disk => disk.State == DiskState.Left && disk.Path == stamp.Path) && File.Exists(stamp.Path)))
        {
            DiskStamp now = Look(then.Path);
            if (now != then)
            {
                throw new SnapshotException(
                    string.Create(CultureInfo.InvariantCulture, $"{then.Path}: the disk has been changed since the machine was suspended ({now.Modified:yyyy-MM-dd HH:mm:ss} UTC, it had {then.Length} bytes, now {now.Length}); going on would damage its file systems: bring the image back, or start from a snapshot; removing {file} lets it go on all the same"),
                    "disks");
            }
        }
    }

    /// <summary>True when there are any and no disk has been changed, whose files are found by other paths now.</summary>
    internal static bool AreTrue(string folder, Func<string, string> place) => Read(folder) is DiskStamp[] stamps && stamps.All(stamp => File.Exists(place(stamp.Path)) && Look(place(stamp.Path)) == stamp with { Path = place(stamp.Path) });

    /// <summary>Writes them anew, of the files at their other paths.</summary>
    internal static void Renew(string folder, Func<string, string> place) => Write(folder, Read(folder)!.Select(stamp => Look(place(stamp.Path))));

    private static DiskStamp[]? Read(string folder)
    {
        string file = Path.Combine(folder, FileName);
        try
        {
            return JsonSerializer.Deserialize(File.ReadAllBytes(file), StampJson.Default.DiskStampArray) ?? [];
        }
        catch (FileNotFoundException)
        {
            return null;
        }
        catch (JsonException e)
        {
            throw new SnapshotException($"{file}: not what Doppel has written: {e.Message}", "disks", e);
        }
    }

    private static void Write(string folder, IEnumerable<DiskStamp> stamps) =>
        AtomicFile.Write(Path.Combine(folder, FileName), JsonSerializer.SerializeToUtf8Bytes(stamps.ToArray(), StampJson.Default.DiskStampArray));

    private static DiskStamp Look(string path)
    {
        var file = new FileInfo(path);
        return new DiskStamp(path, file.Length, file.LastWriteTimeUtc);
    }
}

/// <summary>A disk's file as its machine left it.</summary>
/// <param name="Path">Its path.</param>
/// <param name="Length">Its bytes.</param>
/// <param name="Modified">When it was last written to.</param>
internal sealed record DiskStamp(string Path, long Length, DateTime Modified);

/// <summary>JSON of them, without reflection.</summary>
[JsonSourceGenerationOptions(PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase, WriteIndented = true)]
[JsonSerializable(typeof(DiskStamp[]))]
internal sealed partial class StampJson : JsonSerializerContext;
