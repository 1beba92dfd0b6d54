namespace Doppel.Vmm.Boot;

/// <summary>A range of guest-physical addresses and what it is.</summary>
/// <param name="Start">First address.</param>
/// <param name="Length">Bytes.</param>
/// <param name="Kind">What it is.</param>
public readonly record struct MemoryRange(ulong Start, ulong Length, MemoryKind Kind)
{
    /// <summary>First address after the range.</summary>
    public ulong End => Start + Length;
}

/// <summary>Type of a memory range, with the numbers of E820h, PVH and Multiboot alike (ACPI 6.4, table 15.2).</summary>
public enum MemoryKind : uint
{
    /// <summary>Usable.</summary>
    Ram = 1,

    /// <summary>Not for use.</summary>
    Reserved = 2,

    /// <summary>ACPI tables; usable after they are read.</summary>
    AcpiTables = 3,

    /// <summary>ACPI memory to be kept across sleep.</summary>
    AcpiNvs = 4,
}
