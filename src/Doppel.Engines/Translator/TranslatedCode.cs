namespace Doppel.Engines.Translator;

/// <summary>The host code of one block: a copy.</summary>
/// <param name="Address">Where it executes.</param>
/// <param name="Bytes">The code with its exits; null when the block was not translated.</param>
public readonly record struct TranslatedCode(ulong Address, byte[]? Bytes);
