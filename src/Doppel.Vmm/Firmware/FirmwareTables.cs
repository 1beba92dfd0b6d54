using Doppel.Machine.Bus;
using Doppel.Machine.Memory;
using Doppel.Vmm.Boot;

namespace Doppel.Vmm.Firmware;

/// <summary>
/// Writes what a PC's firmware leaves in memory for the operating system: ACPI, SMBIOS and MP tables, all in the BIOS
/// area (E0000h to FFFFFh), where guests that are told no address search for them.
/// </summary>
public static class FirmwareTables
{
    // SMBIOS and the MP specification want their entry points from here on; ACPI accepts all of the BIOS area.
    private const ulong UpperHalf = 0xF0000;

    /// <summary>Writes all tables.</summary>
    /// <param name="memory">The machine's memory, at least 1 MiB of it, with RAM in the BIOS area.</param>
    /// <param name="layout">The machine.</param>
    /// <returns>Where they are.</returns>
    /// <exception cref="ArgumentOutOfRangeException">The layout cannot be described.</exception>
    /// <exception cref="BootException">The memory is too small.</exception>
    public static FirmwareAddresses Write(GuestMemory memory, MachineLayout layout)
    {
        ArgumentNullException.ThrowIfNull(memory);
        ArgumentNullException.ThrowIfNull(layout);
        layout.Check();
        var lower = new TableArea(PcMemoryMap.BiosArea, PcMemoryMap.GenerationId);
        ulong rsdp = AcpiTables.Write(lower, layout, out ulong xsdt);
        var upper = new TableArea(UpperHalf, PcMemoryMap.BiosAreaEnd);
        ulong smbios3 = SmbiosTables.Write(upper, memory, layout, out ulong smbios);
        ulong multiProcessor = MpTables.Write(upper, layout);
        LowMemory.Write(memory, lower.Start, lower.Bytes, "ACPI tables");
        LowMemory.Write(memory, upper.Start, upper.Bytes, "SMBIOS and MP tables");
        return new FirmwareAddresses(rsdp, xsdt, smbios3, smbios, multiProcessor, upper.Next);
    }
}
