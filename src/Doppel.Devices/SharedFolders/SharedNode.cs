using Doppel.Host.Folders;

namespace Doppel.Devices.SharedFolders;

/// <summary>A file that a guest knows by a number, for as long as it does.</summary>
/// <param name="id">The number.</param>
/// <param name="handle">The file; null when it wasn't found again after a restore.</param>
/// <param name="device">The file system that it lies on.</param>
/// <param name="inode">Its number there.</param>
internal sealed class SharedNode(ulong id, FolderNode? handle, ulong device, ulong inode)
{
    internal ulong Id => id;

    internal FolderNode? Handle => handle;

    internal ulong Device => device;

    internal ulong Inode => inode;

    /// <summary>How often the guest was told the number and has not forgotten it.</summary>
    internal ulong Lookups { get; set; } = 1;
}
