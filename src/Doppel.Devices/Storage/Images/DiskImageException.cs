namespace Doppel.Devices.Storage.Images;

/// <summary>An image that can't be opened or used: names the image, what is wrong and what would be right.</summary>
/// <param name="message">The whole message.</param>
/// <param name="innerException">The cause; null for none.</param>
public sealed class DiskImageException(string message, Exception? innerException = null) : IOException(message, innerException);
