namespace Doppel.Vmm.Boot;

/// <summary>What a loader is to hand to the kernel.</summary>
public sealed record BootRequest
{
    /// <summary>The kernel's command line; ASCII or UTF-8.</summary>
    public string CommandLine { get; init; } = "";

    /// <summary>Initial RAM disk or Multiboot module; null for none.</summary>
    public BootFile? Initrd { get; init; }

    /// <summary>What the kernel is told about memory.</summary>
    public required MemoryMap MemoryMap { get; init; }

    /// <summary>Guest-physical address of the ACPI RSDP; 0 when the kernel has to look for it or there is none.</summary>
    public ulong RsdpAddress { get; init; }

    /// <summary>True when the machine has a display in text mode 3, which the kernel is told of.</summary>
    public bool HasTextScreen { get; init; }
}
