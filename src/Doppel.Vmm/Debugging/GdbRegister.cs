using Doppel.Machine.Cpu.Debugging;

namespace Doppel.Vmm.Debugging;

/// <summary>A register as the target description names it.</summary>
/// <param name="Name">GDB's name.</param>
/// <param name="Register">The vCPU's register.</param>
/// <param name="Type">Type in the target description.</param>
/// <param name="Feature">Name of the feature that holds it.</param>
/// <param name="Group">Group for "info registers"; null for GDB's choice by the type.</param>
public sealed record GdbRegister(string Name, CpuRegister Register, string Type, string Feature, string? Group = null);
