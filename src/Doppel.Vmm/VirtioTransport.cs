namespace Doppel.Vmm;

/// <summary>By which bus a guest finds its virtio devices.</summary>
public enum VirtioTransport
{
    /// <summary>As PCI functions with MSI-X.</summary>
    Pci,

    /// <summary>As pages of registers that ACPI lists (LNRO0005), with one interrupt line each.</summary>
    Mmio,
}
