namespace Doppel.Devices.Storage.Images;

/// <summary>Learns of all that changes an image's file. Called on the thread that does it, by several at a time.</summary>
internal interface IImageFileObserver
{
    /// <summary>Bytes are about to be written.</summary>
    void Writing(ulong offset, BufferList buffers);

    /// <summary>A range is about to become a hole.</summary>
    void Punching(ulong offset, ulong length);

    /// <summary>All that was written before the sync began is durable.</summary>
    void Synced();
}
