namespace Doppel.Nested;

/// <summary>A machine did not do what it must.</summary>
internal sealed class NestedException(string message) : Exception(message);
