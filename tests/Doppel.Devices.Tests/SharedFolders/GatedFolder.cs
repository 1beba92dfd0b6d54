using Doppel.Devices.SharedFolders;
using Doppel.Devices.Virtio;
using Doppel.Machine.State;

namespace Doppel.Devices.Tests.SharedFolders;

/// <summary>A folder whose server can be made to stand still before it answers. Folders go when the process does.</summary>
public sealed class GatedFolder
{
    private static readonly string All = Directory.CreateTempSubdirectory("doppel-folders-").FullName;
    private volatile TaskCompletionSource? _closed;

    // Hostile guests make names that are no text, which .NET can't delete.
    static GatedFolder() => AppDomain.CurrentDomain.ProcessExit += (_, _) => System.Diagnostics.Process.Start("rm", ["-rf", All]).WaitForExit();

    public string Path { get; } = Directory.CreateDirectory(System.IO.Path.Combine(All, Guid.NewGuid().ToString("N"), "shared")).FullName;

    public void Close() => _closed = new TaskCompletionSource();

    public void Open() => _closed?.SetResult();

    public IFuseServer Serve(bool isReadOnly = false) => new Gate(new FuseServer(Path, isReadOnly), this);

    private sealed class Gate(FuseServer server, GatedFolder folder) : IFuseServer
    {
        public uint Handle(VirtioChain chain)
        {
            folder._closed?.Task.Wait();
            return server.Handle(chain);
        }

        public void Reset() => server.Reset();

        public void Save(StateWriter writer) => server.Save(writer);

        public Action Read(StateReader reader, string section) => server.Read(reader, section);

        public void Dispose() => server.Dispose();
    }
}
