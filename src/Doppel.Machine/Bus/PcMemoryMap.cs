namespace Doppel.Machine.Bus;

/// <summary>Guest-physical addresses of the PC platform that devices and firmware tables agree on.</summary>
public static class PcMemoryMap
{
    /// <summary>First byte that conventional memory leaves to the extended BIOS data area.</summary>
    public const ulong ConventionalEnd = 0x9FC00;

    /// <summary>The BIOS read-only area, where guests look for the RSDP and the SMBIOS entry points.</summary>
    public const ulong BiosArea = 0xE0000;

    /// <summary>End (exclusive) of the BIOS area.</summary>
    public const ulong BiosAreaEnd = 0x100000;

    /// <summary>The 16 bytes of the generation identifier, in a page of their own inside the BIOS area.</summary>
    public const ulong GenerationId = 0xEF000;

    /// <summary>Register pages of virtio devices that are not on PCI, behind the window for PCI memory; one each, up to <see cref="VirtioMmioCount"/>.</summary>
    public const ulong VirtioMmio = 0xFED1_0000;

    /// <summary>Most such pages.</summary>
    public const int VirtioMmioCount = 48;

    /// <summary>Start of the window for PCI memory.</summary>
    public const ulong PciWindow = 0xC000_0000;

    /// <summary>Last byte of the window for PCI memory.</summary>
    public const ulong PciWindowLast = 0xFEBF_FFFF;

    /// <summary>PCI Express configuration space of bus 0, one mebibyte inside the window for PCI memory.</summary>
    public const ulong PciEcam = 0xE000_0000;

    /// <summary>The IOAPIC's registers, one page.</summary>
    public const ulong IoApic = 0xFEC0_0000;

    /// <summary>The HPET's registers, one kibibyte.</summary>
    public const ulong Hpet = 0xFED0_0000;

    /// <summary>The local APIC's registers, one page, unless IA32_APIC_BASE moves them.</summary>
    public const ulong LocalApic = 0xFEE0_0000;
}
