namespace Doppel.Devices.Network;

/// <summary>A network that can't be had: names what was asked for, what is wrong and what would be right.</summary>
/// <param name="message">The whole message.</param>
/// <param name="innerException">The cause; null for none.</param>
public sealed class NetworkException(string message, Exception? innerException = null) : IOException(message, innerException);
