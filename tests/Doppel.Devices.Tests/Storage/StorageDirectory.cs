namespace Doppel.Devices.Tests.Storage;

/// <summary>A directory for images that ends with the test.</summary>
internal sealed class StorageDirectory : IDisposable
{
    private readonly string _path = Directory.CreateTempSubdirectory("doppel-disk-").FullName;

    internal string this[string name] => Path.Combine(_path, name);

    public void Dispose() => Directory.Delete(_path, recursive: true);
}
