using System.Runtime.InteropServices;

namespace Doppel.Machine.Cpu.Mmu;

/// <summary>
/// One entry of the software TLB, 32 bytes. A tag is the negated linear address of the page; an access of n bytes at va
/// hits when (tag + va + n - 1) is below 4096, which also sends page-crossing accesses to the slow path and can be
/// computed by LEA without touching flags. An invalid tag is that of a page with another index.
/// </summary>
[StructLayout(LayoutKind.Sequential)]
public struct TlbEntry
{
    /// <summary>Tag for reads.</summary>
    public ulong ReadTag;

    /// <summary>Tag for writes: valid only when the page's dirty bit is set and nothing watches the page.</summary>
    public ulong WriteTag;

    /// <summary>Tag for instruction fetches.</summary>
    public ulong ExecuteTag;

    /// <summary>Host address minus linear address.</summary>
    public ulong Addend;
}

/// <summary>The slow half of an entry: what emitted code never needs.</summary>
[StructLayout(LayoutKind.Sequential)]
public struct TlbDetail
{
    /// <summary>Linear address of the page, with bit 0 set when the detail is valid.</summary>
    public ulong Page;

    /// <summary>Guest-physical address of the page (A20 mask applied).</summary>
    public ulong Physical;

    /// <summary>What the translation allows in this mode.</summary>
    public TlbRights Rights;
}

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
}
