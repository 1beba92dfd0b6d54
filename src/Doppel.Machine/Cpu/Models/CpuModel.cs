namespace Doppel.Machine.Cpu.Models;

/// <summary>
/// A named, fixed set of features: what CPUID says and what the machine therefore offers. The contract between a saved
/// VM and the host that restores it.
/// </summary>
public sealed class CpuModel
{
    /// <summary>The name that a user gives, for example "x86-64-v2".</summary>
    public required string Name { get; init; }

    /// <summary>Family, model and stepping as in CPUID.1:EAX; also EDX after reset.</summary>
    public required uint Signature { get; init; }

    /// <summary>MAXPHYADDR: physical address bits, which reserved-bit checks follow.</summary>
    public required int PhysicalAddressBits { get; init; }

    /// <summary>CPUID.80000001h:EDX[26].</summary>
    public required bool Has1GiBPages { get; init; }
}
