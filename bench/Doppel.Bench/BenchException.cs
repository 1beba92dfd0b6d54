namespace Doppel.Bench;

/// <summary>A failure that ends the whole run; its message is for the user.</summary>
internal sealed class BenchException(string message) : Exception(message);
