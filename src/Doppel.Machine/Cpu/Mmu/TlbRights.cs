namespace Doppel.Machine.Cpu.Mmu;

/// <summary>What a cached translation allows and how it was made.</summary>
[Flags]
public enum TlbRights : uint
{
    /// <summary>Nothing.</summary>
    None = 0,

    /// <summary>Reads.</summary>
    Read = 1,

    /// <summary>Writes, the dirty bit being set.</summary>
    Write = 2,

    /// <summary>Instruction fetches.</summary>
    Execute = 4,

    /// <summary>Survives a load of CR3.</summary>
    Global = 8,

    /// <summary>Split from a page of 2 or 4 MiB.</summary>
    Large = 16,

    /// <summary>Split from a page of 1 GiB.</summary>
    Huge = 32,

    /// <summary>A page that CPL 3 may reach.</summary>
    User = 64,
}
