namespace Doppel.Host.Files;

/// <summary>Files that are replaced whole: whoever reads one finds the old bytes or the new, also after a loss of power.</summary>
public static class AtomicFile
{
    /// <summary>Writes a file beside the old one, makes it durable and gives it the name.</summary>
    /// <param name="path">The file; its directory must exist.</param>
    /// <param name="content">All of it.</param>
    /// <exception cref="IOException">The host refuses; the old file is as it was.</exception>
    public static void Write(string path, ReadOnlyMemory<byte> content)
    {
        string directory = Path.GetDirectoryName(Path.GetFullPath(path))!;
        string temporary = Path.Combine(directory, $".{Path.GetFileName(path)}.{Guid.NewGuid():N}");
        try
        {
            using (var file = new HostFile(temporary, HostFileMode.CreateNew))
            {
                file.Write(0, content);
                file.Sync();
            }

            File.Move(temporary, path, overwrite: true);
        }
        catch
        {
            File.Delete(temporary);
            throw;
        }

        using var parent = new HostFile(directory, HostFileMode.Read);
        parent.Sync();
    }
}
