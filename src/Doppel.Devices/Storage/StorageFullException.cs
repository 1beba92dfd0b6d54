namespace Doppel.Devices.Storage;

/// <summary>
/// The host has no room for what a guest writes. The operation can be tried again once there is room; nothing of it has
/// been acknowledged.
/// </summary>
/// <param name="message">What was written where, and what is full.</param>
/// <param name="innerException">The host's error; null for none.</param>
public sealed class StorageFullException(string message, Exception? innerException = null) : IOException(message, innerException)
{
    /// <summary>A path on the file system that is full; null when it isn't one of the host's, or not known.</summary>
    public string? Place { get; init; }
}
