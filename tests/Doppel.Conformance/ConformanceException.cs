namespace Doppel.Conformance;

/// <summary>A failure that ends the whole run; its message is for the user.</summary>
internal sealed class ConformanceException(string message) : Exception(message);
