namespace Doppel.Machine.Cpu.HostInstructions;

/// <summary>The 16 bytes of an XMM register.</summary>
internal readonly record struct Vector16(ulong Low, ulong High);
