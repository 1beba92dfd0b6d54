namespace Doppel.Machine.Cpu.Debugging;

/// <summary>Why a vCPU has stopped for its debugger.</summary>
/// <param name="Cpu">Index of the vCPU.</param>
/// <param name="Breakpoint">The breakpoint or watchpoint that was hit; null after a single step.</param>
/// <param name="Address">Linear address of the instruction or of the data.</param>
public sealed record DebugStop(int Cpu, Breakpoint? Breakpoint, ulong Address);
