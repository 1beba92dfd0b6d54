namespace Doppel.Machine.Cpu.Inspection;

/// <summary>One register, or 8 bytes of a longer one, by name.</summary>
/// <param name="Name">For example "rax" or "cs.limit".</param>
/// <param name="Value">Its value.</param>
public readonly record struct RegisterValue(string Name, ulong Value);
