namespace Doppel.Devices.Tests.Storage;

/// <summary>A directory for images that ends with the test.</summary>
/// <param name="isInMemory">True for tests that sync often and don't need a disk for that.</param>
internal sealed class StorageDirectory(bool isInMemory = false) : IDisposable
{
    private const string Memory = "/dev/shm";
    private readonly string _path = isInMemory && Directory.Exists(Memory)
        ? Directory.CreateDirectory(Path.Combine(Memory, $"doppel-disk-{Guid.NewGuid():N}")).FullName
        : Directory.CreateTempSubdirectory("doppel-disk-").FullName;

    internal string this[string name] => Path.Combine(_path, name);

    public void Dispose() => Directory.Delete(_path, recursive: true);
}
