using Doppel.Devices.Storage.Qcow2;

namespace Doppel.Devices.Storage.Images;

/// <summary>What is done with an overlay and the images behind it.</summary>
public static class Overlays
{
    /// <summary>Where nameless overlays take their space: $TMPDIR, or /var/tmp, which unlike /tmp is seldom in memory.</summary>
    public static string TemporaryDirectory => Environment.GetEnvironmentVariable("TMPDIR") is { Length: > 0 } directory ? directory : "/var/tmp";

    /// <summary>Opens an overlay for writing; one that doesn't exist is made.</summary>
    /// <param name="overlay">The overlay's path.</param>
    /// <param name="backing">The image that lies behind it.</param>
    /// <param name="format">That image's format; null to look at its beginning.</param>
    /// <exception cref="DiskImageException">One can't be opened, or the overlay has another image behind it.</exception>
    public static DiskImage Open(string overlay, string backing, DiskFormat? format)
    {
        if (!File.Exists(overlay))
            DiskImages.Create(overlay, new DiskCreateOptions { Format = DiskFormat.Qcow2, Backing = backing, BackingFormat = format });
        string? present = ImageInformation.Read(overlay, DiskFormat.Qcow2, isShared: true).BackingPath;
        if (present is null || Path.GetFullPath(present) != Path.GetFullPath(backing))
            throw new DiskImageException($"{overlay}: the image behind it is {present ?? "none"}, not {backing}; another overlay, or \"doppel disk rebase\", would be right");
        return DiskImages.Open(overlay, new DiskOpenOptions { Format = DiskFormat.Qcow2 });
    }

    /// <summary>Opens an image for reading with a nameless overlay for writing, which ends when it is closed, however that happens.</summary>
    /// <param name="name">The image.</param>
    /// <param name="format">Its format; null to look at its beginning.</param>
    /// <param name="directory">Where the overlay takes its space.</param>
    /// <exception cref="DiskImageException">The image can't be opened, or the directory not written.</exception>
    public static DiskImage OpenEphemeral(string name, DiskFormat? format, string directory)
    {
        DiskImage image = DiskImages.Open(name, new DiskOpenOptions { Format = format, IsReadOnly = true });
        try
        {
            return Qcow2Image.CreateEphemeral(directory, image);
        }
        catch
        {
            image.Dispose();
            throw;
        }
    }

    /// <summary>The name by which an overlay will name its backing image: relative to its own directory if the user's path is relative.</summary>
    public static string NameBacking(string overlay, string backing) => Path.IsPathRooted(backing) || IsAddress(backing)
        ? backing
        : Path.GetRelativePath(Path.GetDirectoryName(Path.GetFullPath(overlay))!, Path.GetFullPath(backing));

    /// <summary>True for what is no path: an NBD server's address.</summary>
    public static bool IsAddress(string name)
    {
        ArgumentNullException.ThrowIfNull(name);
        return name.StartsWith("nbd:", StringComparison.Ordinal) || name.StartsWith("nbd+unix:", StringComparison.Ordinal);
    }

    /// <summary>Writes what an overlay has into the image behind it, and empties the overlay.</summary>
    /// <param name="path">The overlay.</param>
    /// <param name="keepsOverlay">True to leave the overlay as it is.</param>
    /// <param name="progress">Told the bytes that are done, and how many there are; null for nobody.</param>
    /// <param name="cancel">Ends it between two pieces; the overlay is then as before.</param>
    /// <returns>The path of the image behind it.</returns>
    /// <exception cref="DiskImageException">There is no image behind it, or one of them can't be written.</exception>
    public static string Commit(string path, bool keepsOverlay, Action<ulong, ulong>? progress, CancellationToken cancel)
    {
        using Qcow2Image overlay = OpenOverlay(path, new DiskOpenOptions { Format = DiskFormat.Qcow2, IsWithoutBacking = true });
        if (overlay.Header.BackingName is not string name)
            throw new DiskImageException($"{path}: there is no image behind it to which it could be committed");
        string backingPath = Qcow2Image.ResolveBacking(path, name);
        using DiskImage backing = DiskImages.Open(backingPath, new DiskOpenOptions { Format = overlay.BackingFormat });
        DiskConverter.Commit(overlay, backing, done => progress?.Invoke(done, overlay.Length), cancel);
        if (!keepsOverlay)
            overlay.MakeEmpty();
        return backingPath;
    }

    /// <summary>Puts another image behind an overlay, which reads the same afterwards.</summary>
    /// <param name="path">The overlay.</param>
    /// <param name="backing">The image, as the user names it; null for none.</param>
    /// <param name="format">Its format; null to look at its beginning.</param>
    /// <param name="isHeaderOnly">True when both images are the same in another place, or the present one is gone: nothing is read or compared.</param>
    /// <param name="progress">Told the bytes that are done, and how many there are; null for nobody.</param>
    /// <param name="cancel">Ends it between two pieces; the overlay then has the old image behind it.</param>
    /// <exception cref="DiskImageException">An image can't be opened.</exception>
    public static void Rebase(string path, string? backing, DiskFormat? format, bool isHeaderOnly, Action<ulong, ulong>? progress, CancellationToken cancel)
    {
        using Qcow2Image overlay = OpenOverlay(path, new DiskOpenOptions { Format = DiskFormat.Qcow2, IsWithoutBacking = isHeaderOnly });
        string? name = backing is null ? null : NameBacking(path, backing);
        if (backing is not null && !isHeaderOnly)
        {
            using DiskImage next = DiskImages.Open(backing, new DiskOpenOptions { Format = format, IsReadOnly = true });
            format = next.Format;
            DiskConverter.PrepareRebase(overlay, next, done => progress?.Invoke(done, overlay.Length), cancel);
        }
        else if (!isHeaderOnly)
        {
            DiskConverter.PrepareRebase(overlay, null, done => progress?.Invoke(done, overlay.Length), cancel);
        }

        overlay.ChangeBacking(name, format);
    }

    /// <summary>
    /// Copies what a qcow2 image has in an internal snapshot to a new image with the same image behind it. The image may be in
    /// use: what a snapshot has doesn't change as long as it isn't deleted. The copy is there whole or not at all.
    /// </summary>
    /// <param name="path">The image.</param>
    /// <param name="snapshot">The snapshot's name.</param>
    /// <param name="copy">The new image; replaces one of that name.</param>
    /// <exception cref="DiskImageException">There is no such snapshot, or an image can't be read or written.</exception>
    public static void ExportSnapshot(string path, string snapshot, string copy)
    {
        string temporary = $"{copy}.{Guid.NewGuid():N}";
        try
        {
            using (Qcow2Image source = OpenOverlay(path, new DiskOpenOptions { Format = DiskFormat.Qcow2, IsReadOnly = true, IsShared = true, IsWithoutBacking = true }))
            {
                source.ShowSnapshot(snapshot);
                string? backing = source.Header.BackingName is string name ? Path.GetFullPath(Qcow2Image.ResolveBacking(path, name)) : null;
                DiskImages.Create(temporary, new DiskCreateOptions { Format = DiskFormat.Qcow2, Length = source.Length, Backing = backing, BackingFormat = backing is null ? null : source.BackingFormat });
                using DiskImage target = DiskImages.Open(temporary, new DiskOpenOptions { Format = DiskFormat.Qcow2 });
                if (backing is null)
                    DiskConverter.Copy(source, target, null, CancellationToken.None);
                else
                    DiskConverter.Commit(source, target, null, CancellationToken.None);
            }

            File.Move(temporary, copy, overwrite: true);
        }
        finally
        {
            File.Delete(temporary);
        }
    }

    private static Qcow2Image OpenOverlay(string path, DiskOpenOptions options) => (Qcow2Image)DiskImages.Open(path, options);
}
