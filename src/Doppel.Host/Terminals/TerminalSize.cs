namespace Doppel.Host.Terminals;

/// <summary>Size of a terminal in characters.</summary>
/// <param name="Rows">Lines.</param>
/// <param name="Columns">Characters in a line.</param>
public readonly record struct TerminalSize(int Rows, int Columns);
