using Doppel.Host.Folders;

namespace Doppel.Devices.SharedFolders;

/// <summary>A file or directory that a guest has open.</summary>
/// <param name="node">Number of the node.</param>
/// <param name="flags">Flags of open(2), without those that do something at once.</param>
/// <param name="file">The file; null for a directory, and when it wasn't found again after a restore.</param>
/// <param name="directory">The directory, locked while it is read; null for a file, and when it wasn't found again.</param>
/// <param name="isDirectory">True for a directory.</param>
internal sealed class SharedHandle(ulong node, int flags, FolderFile? file, FolderReader? directory, bool isDirectory) : IDisposable
{
    internal bool IsDirectory => isDirectory;

    internal ulong Node => node;

    internal int Flags => flags;

    internal FolderFile? File => file;

    internal FolderReader? Directory => directory;

    public void Dispose()
    {
        file?.Dispose();
        directory?.Dispose();
    }
}
