namespace Doppel.Machine.Cpu.Mmu;

/// <summary>What an access wants; the values are bits of the #PF error code where they have one.</summary>
[Flags]
public enum AccessKind : uint
{
    /// <summary>A data read.</summary>
    Read = 0,

    /// <summary>A data write (error code bit W).</summary>
    Write = 2,

    /// <summary>An instruction fetch (error code bit I).</summary>
    Execute = 16,
}
