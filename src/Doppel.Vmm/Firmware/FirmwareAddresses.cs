namespace Doppel.Vmm.Firmware;

/// <summary>Where the firmware tables lie, as guest-physical addresses. All are inside the BIOS area, which the memory map reserves.</summary>
/// <param name="Rsdp">ACPI's root pointer.</param>
/// <param name="Xsdt">ACPI's table of tables.</param>
/// <param name="Smbios3">The 64-bit SMBIOS entry point.</param>
/// <param name="Smbios">The 32-bit SMBIOS entry point.</param>
/// <param name="MultiProcessor">The floating pointer of the MP specification.</param>
/// <param name="End">First free address after the tables.</param>
public readonly record struct FirmwareAddresses(ulong Rsdp, ulong Xsdt, ulong Smbios3, ulong Smbios, ulong MultiProcessor, ulong End);
