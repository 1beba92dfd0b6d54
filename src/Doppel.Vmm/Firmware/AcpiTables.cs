using Doppel.Machine.Bus;

namespace Doppel.Vmm.Firmware;

/// <summary>Builds the ACPI tables (ACPI 6.4, chapter 5): RSDP, RSDT, XSDT, FADT, FACS, MADT, MCFG and DSDT.</summary>
internal static class AcpiTables
{
    private const int CenturyIndex = 0x32;
    // Intel's vendor id, three comparators, a 64-bit counter, legacy replacement.
    private const uint HpetId = 0x8086_A201;
    private const int HpetMinimumTick = 100;
    private const int HeaderLength = 36, ChecksumOffset = 9;

    /// <summary>Adds all tables to an area; the RSDP comes first.</summary>
    /// <returns>Address of the RSDP.</returns>
    internal static ulong Write(TableArea area, MachineLayout layout, out ulong xsdt)
    {
        const int RsdpLength = 36;
        ulong rsdp = area.Reserve(RsdpLength);
        ulong rsdt = WriteTables(area, layout, null, out xsdt);
        area.Fill(rsdp, Rsdp(rsdt, xsdt));
        return rsdp;
    }

    /// <summary>Makes the tables for firmware that places them.</summary>
    /// <param name="layout">The machine.</param>
    /// <param name="tables">The file of all tables.</param>
    /// <param name="tablesName">Its name.</param>
    /// <param name="rsdp">The file of the root pointer.</param>
    /// <param name="rsdpName">Its name.</param>
    /// <param name="loader">Told what is to be done with both.</param>
    internal static void Write(MachineLayout layout, out byte[] tables, string tablesName, out byte[] rsdp, string rsdpName, TableLoader loader)
    {
        const int MostBytes = 1 << 20;
        var area = new TableArea(0, MostBytes);
        _ = loader.Allocate(tablesName, 64, isLow: false).Allocate(rsdpName, 16, isLow: true);
        var fields = new List<(int Table, int Field, int Size)>();
        // An offset of 0 would be that of the first table: nothing points to where no table is.
        ulong rsdt = WriteTables(area, layout, fields, out ulong xsdt);
        tables = area.Bytes;
        foreach (int table in fields.Select(field => field.Table).Distinct())
        {
            foreach ((_, int field, int size) in fields.Where(field => field.Table == table))
                _ = loader.AddPointer(tablesName, table + field, size, tablesName);
            tables[table + ChecksumOffset] = 0;
            _ = loader.AddChecksum(tablesName, table + ChecksumOffset, table, BitConverter.ToInt32(tables, table + 4));
        }

        rsdp = Rsdp(rsdt, xsdt);
        rsdp[8] = rsdp[32] = 0;
        _ = loader.AddPointer(rsdpName, 16, 4, tablesName).AddPointer(rsdpName, 24, 8, tablesName)
            .AddChecksum(rsdpName, 8, 0, 20).AddChecksum(rsdpName, 32, 0, 36);
    }

    // Notes the fields that hold addresses: of each the offset of its table and that of the field in it.
    private static ulong WriteTables(TableArea area, MachineLayout layout, List<(int Table, int Field, int Size)>? fields, out ulong xsdt)
    {
        ulong facs = area.Add(Facs(), alignment: 64);
        ulong dsdt = area.Add(Dsdt.Build(layout));
        ulong fadt = area.Add(Fadt(layout, facs, dsdt));
        fields?.AddRange([((int)fadt, 36, 4), ((int)fadt, 40, 4), ((int)fadt, 140, 8)]);
        List<ulong> tables = [fadt, area.Add(Madt(layout))];
        if (layout.EcamBase is { } ecam)
            tables.Add(area.Add(Mcfg(ecam)));
        if (layout.HasHpet)
            tables.Add(area.Add(Hpet()));

        TableWriter list = Begin("XSDT", 1), oldList = Begin("RSDT", 1);
        foreach (ulong table in tables)
        {
            _ = list.U64(table);
            _ = oldList.U32((uint)table);
        }

        xsdt = area.Add(Finish(list));
        ulong rsdt = area.Add(Finish(oldList));
        for (int i = 0; i < tables.Count; i++)
            fields?.AddRange([((int)xsdt, HeaderLength + (8 * i), 8), ((int)rsdt, HeaderLength + (4 * i), 4)]);
        return rsdt;
    }

    /// <summary>Starts a table with the common header (ACPI 6.4, 5.2.6).</summary>
    internal static TableWriter Begin(string signature, int revision) => new TableWriter()
        .Text(signature, 4)
        .U32(0)
        .U8(revision)
        .U8(0)
        .Text("DOPPEL", 6)
        .Text("DOPPELPC", 8)
        .U32(1)
        .Text("DPPL", 4)
        .U32(1);

    /// <summary>Enters length and checksum.</summary>
    internal static byte[] Finish(TableWriter table) =>
        table.PatchU32(4, (uint)table.Length).Checksum(9, 0, table.Length).ToArray();

    private static byte[] Rsdp(ulong rsdt, ulong xsdt) => new TableWriter()
        .Text("RSD PTR ", 8)
        .U8(0)
        .Text("DOPPEL", 6)
        .U8(2)
        .U32((uint)rsdt)
        .U32(36)
        .U64(xsdt)
        .U8(0)
        .Zeros(3)
        .Checksum(8, 0, 20)
        .Checksum(32, 0, 36)
        .ToArray();

    private static byte[] Facs() => new TableWriter().Text("FACS", 4).U32(64).Zeros(24).U8(2).Zeros(31).ToArray();

    private static byte[] Fadt(MachineLayout layout, ulong facs, ulong dsdt)
    {
        const int LegacyDevices = 1 << 0, KeyboardController = 1 << 1, NoVga = 1 << 2;
        const uint WriteBackInvalidate = 1 << 0, C1 = 1 << 2, NoFixedSleepButton = 1 << 5,
            PmTimer32Bit = 1 << 8, ResetRegister = 1 << 10;
        int bootFlags = LegacyDevices | (layout.HasKeyboardController ? KeyboardController : 0) | (layout.HasVga ? 0 : NoVga);
        TableWriter t = Begin("FACP", 6)
            .U32((uint)facs)
            .U32((uint)dsdt)
            .U8(0)
            .U8(1)
            .U16(PcPorts.SciIrq)
            .U32(PcPorts.SmiCommand)
            .U8(PcPorts.AcpiEnable)
            .U8(PcPorts.AcpiDisable)
            .U8(0)
            .U8(0)
            .U32(layout.Pm1Event)
            .U32(0)
            .U32(layout.Pm1Control)
            .U32(0)
            .U32(0)
            .U32(layout.PmTimer)
            .U32(layout.Gpe0)
            .U32(0)
            .U8(PcPorts.Pm1EventLength)
            .U8(PcPorts.Pm1ControlLength)
            .U8(0)
            .U8(PcPorts.PmTimerLength)
            .U8(PcPorts.Gpe0Length)
            .U8(0)
            .U8(0)
            .U8(0)
            // Latencies above 100 and 1000 µs say that there is no C2 and no C3.
            .U16(101)
            .U16(1001)
            .U16(0)
            .U16(0)
            .U8(0)
            .U8(0)
            .U8(0)
            .U8(0)
            .U8(CenturyIndex)
            .U16(bootFlags)
            .U8(0)
            .U32(WriteBackInvalidate | C1 | NoFixedSleepButton | PmTimer32Bit | ResetRegister);
        AddPort(t, PcPorts.ResetControl, 1, 1);
        _ = t.U8(PcPorts.ResetValue)
            .U16(0)
            .U8(4)
            // The FACS lies below 4 GiB, so only the 32-bit field may name it (5.2.9, X_FIRMWARE_CTRL).
            .U64(0)
            .U64(dsdt);
        AddPort(t, layout.Pm1Event, PcPorts.Pm1EventLength, 2);
        _ = t.Zeros(12);
        AddPort(t, layout.Pm1Control, PcPorts.Pm1ControlLength, 2);
        _ = t.Zeros(24);
        AddPort(t, layout.PmTimer, PcPorts.PmTimerLength, 3);
        AddPort(t, layout.Gpe0, PcPorts.Gpe0Length, 1);
        return Finish(t.Zeros(12 + 24 + 8));
    }

    // A generic address structure for a port: access size 1 is a byte, 2 a word, 3 a double word.
    private static void AddPort(TableWriter table, ushort port, int length, int accessSize) =>
        _ = table.U8(1).U8(length * 8).U8(0).U8(accessSize).U64(port);

    private static byte[] Madt(MachineLayout layout)
    {
        const int ActiveHigh = 1, LevelTriggered = 3 << 2;
        TableWriter t = Begin("APIC", 5).U32((uint)PcMemoryMap.LocalApic).U32(1);
        for (int cpu = 0; cpu < layout.CpuCount; cpu++)
            _ = t.U8(0).U8(8).U8(cpu).U8(cpu).U32(1);
        _ = t.U8(1).U8(12).U8(layout.IoApicId).U8(0).U32((uint)PcMemoryMap.IoApic).U32(0);
        AddOverride(t, PcPorts.TimerIrq, PcPorts.TimerGsi, 0);
        AddOverride(t, PcPorts.SciIrq, PcPorts.SciIrq, ActiveHigh | LevelTriggered);
        // NMI enters every local APIC at LINT1.
        return Finish(t.U8(4).U8(6).U8(0xFF).U16(0).U8(1));
    }

    private static void AddOverride(TableWriter table, int irq, int gsi, int flags) =>
        _ = table.U8(2).U8(10).U8(0).U8(irq).U32((uint)gsi).U16(flags);

    // IA-PC HPET specification 1.0a, 3.2.4.
    private static byte[] Hpet() =>
        Finish(Begin("HPET", 1).U32(HpetId).U8(0).U8(64).U8(0).U8(0).U64(PcMemoryMap.Hpet).U8(0).U16(HpetMinimumTick).U8(0));

    private static byte[] Mcfg(ulong ecam) =>
        Finish(Begin("MCFG", 1).U64(0).U64(ecam).U16(0).U8(0).U8(0).U32(0));
}
