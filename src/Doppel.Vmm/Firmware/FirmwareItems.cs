using Doppel.Devices.Pc;
using Doppel.Machine.Bus;
using Doppel.Machine.Memory;
using Doppel.Vmm.Boot;

namespace Doppel.Vmm.Firmware;

/// <summary>What firmware is told about its machine, through <see cref="FirmwareConfiguration"/>.</summary>
internal static class FirmwareItems
{
    private const ushort NoGraphics = 0x04, Numa = 0x0D, BootMenuItem = 0x0E, IrqOverride = 0x8002;
    private const string Tables = "etc/acpi/tables", RootPointer = "etc/acpi/rsdp";

    /// <summary>Adds all items.</summary>
    /// <param name="items">The device.</param>
    /// <param name="boot">Kernel and ROMs.</param>
    /// <param name="spec">The machine.</param>
    /// <param name="memory">Its memory.</param>
    /// <param name="commandLine">The command line of a kernel that the user names.</param>
    /// <param name="layout">What tables say of it, when firmware asks: by then it has placed registers.</param>
    internal static void Add(FirmwareConfiguration items, MachineBoot boot, MachineSpec spec, GuestMemory memory, string commandLine, Func<MachineLayout> layout)
    {
        _ = items
            .Add(NoGraphics, 0)
            .Add(BootMenuItem, (ushort)(spec.BootMenu ? 1 : 0))
            // The interval timer's interrupt enters the IOAPIC at input 2.
            .Add(IrqOverride, [1])
            .Add(Numa, new byte[8 * (1 + spec.Cpus)])
            .AddFile("etc/e820", MemoryRanges(memory))
            // The PIIX4's sleep states: S3 and S4 not, S5 with the type that the DSDT names (bit 7: there is such a state).
            .AddFile("etc/system-states", [0x80, 0, 0, 0x01, 0x02, 0x80 | PcPorts.SleepTypeOff])
            .AddFile(Tables, () => MakeTables(layout()).Tables)
            .AddFile(RootPointer, () => MakeTables(layout()).RootPointer)
            .AddFile("etc/table-loader", () => MakeTables(layout()).Loader);
        (byte[] structures, byte[] anchor) = SmbiosTables.Make(memory, layout());
        _ = items.AddFile("etc/smbios/smbios-tables", structures).AddFile("etc/smbios/smbios-anchor", anchor);
        if (boot.KernelFile is not null)
            LinuxBootRom.Add(items, boot.KernelFile, boot.Initrd, commandLine, memory);
        if (spec.BootMenu)
            _ = items.AddFile("etc/boot-menu-wait", Number(MenuMilliseconds));
        // SeaBIOS shows its screen, and that of what it boots, on the first serial port too, and takes what comes there for keys:
        // also from a boot loader that reads the port itself. Who asks for a screen wants that port for the guest.
        if (spec.Display is DisplayAdapterKind.Automatic or DisplayAdapterKind.None)
            _ = items.AddFile("etc/sercon-port", Number(PcPorts.Serial1));
        foreach ((string name, byte[] rom) in boot.Firmware!.OptionRoms)
            _ = items.AddFile(name, rom);
    }

    private const int MenuMilliseconds = 5000;

    private static byte[] Number(ulong value) => BitConverter.GetBytes(value);

    // QEMU's "etc/e820": what is RAM, 20 bytes a range.
    private static byte[] MemoryRanges(GuestMemory memory)
    {
        const uint Ram = 1;
        TableWriter table = new TableWriter().U64(0).U64(memory.LowRamSize).U32(Ram);
        if (memory.HighRamSize != 0)
            _ = table.U64(GuestMemory.HighRamStart).U64(memory.HighRamSize).U32(Ram);
        return table.ToArray();
    }

    private static (byte[] Tables, byte[] RootPointer, byte[] Loader) MakeTables(MachineLayout layout)
    {
        layout.Check();
        var loader = new TableLoader();
        AcpiTables.Write(layout, out byte[] tables, Tables, out byte[] rootPointer, RootPointer, loader);
        return (tables, rootPointer, loader.ToArray());
    }
}
