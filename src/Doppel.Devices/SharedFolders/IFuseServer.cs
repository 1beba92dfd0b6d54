using Doppel.Devices.Virtio;
using Doppel.Machine.State;

namespace Doppel.Devices.SharedFolders;

/// <summary>Answers FUSE requests (linux/fuse.h) that a virtio file system device brings.</summary>
public interface IFuseServer : IDisposable
{
    /// <summary>Handles a request. Several threads may at once; may block.</summary>
    /// <param name="chain">Header and arguments to read, room for the answer to write.</param>
    /// <returns>Bytes written, from the first writable byte on; zero for what has no answer.</returns>
    uint Handle(VirtioChain chain);

    /// <summary>Forgets everything that the guest knows, as after a reset. No request is being handled.</summary>
    void Reset();

    /// <summary>Writes what the guest knows and has open. No request is being handled.</summary>
    void Save(StateWriter writer);

    /// <summary>Reads and checks what <see cref="Save"/> wrote.</summary>
    /// <param name="reader">The bytes.</param>
    /// <param name="section">Name of the section, for messages.</param>
    /// <returns>Takes it over.</returns>
    Action Read(StateReader reader, string section);
}
