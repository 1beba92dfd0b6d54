namespace Doppel.Devices.Storage.Images;

/// <summary>An image contradicts itself. It is not written to any more.</summary>
/// <param name="message">What contradicts what.</param>
public sealed class ImageDamageException(string message) : IOException(message);
