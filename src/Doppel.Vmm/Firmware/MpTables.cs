using Doppel.Machine.Bus;

namespace Doppel.Vmm.Firmware;

/// <summary>Builds the tables of Intel's MultiProcessor Specification 1.4, for guests that know APICs but not ACPI.</summary>
internal static class MpTables
{
    private const int PciBusId = 0;
    private const int IsaBusId = 1;
    private const int Vectored = 0;
    private const int NonMaskable = 1;
    private const int External = 3;
    private const int EveryApic = 0xFF;

    /// <summary>Adds floating pointer and configuration table to an area.</summary>
    /// <returns>Address of the floating pointer.</returns>
    internal static ulong Write(TableArea area, MachineLayout layout)
    {
        ulong pointer = area.Reserve(16);
        ulong table = area.Add(Configuration(layout));
        // Feature byte 1 zero: a configuration table exists; bit 7 of byte 2 zero: virtual wire mode.
        area.Fill(pointer, new TableWriter().Text("_MP_", 4).U32((uint)table).U8(1).U8(4).U8(0).Zeros(5).Checksum(10, 0, 16).ToArray());
        return pointer;
    }

    private static byte[] Configuration(MachineLayout layout)
    {
        var entries = new List<byte[]>();
        for (int cpu = 0; cpu < layout.CpuCount; cpu++)
        {
            const int Enabled = 1, Bootstrap = 2;
            entries.Add(new TableWriter().U8(0).U8(cpu).U8(0x14).U8(Enabled | (cpu == 0 ? Bootstrap : 0))
                .U32(layout.CpuSignature).U32(layout.CpuFeatures).Zeros(8).ToArray());
        }

        entries.Add(new TableWriter().U8(1).U8(PciBusId).Text("PCI", 6).ToArray());
        entries.Add(new TableWriter().U8(1).U8(IsaBusId).Text("ISA", 6).ToArray());
        entries.Add(new TableWriter().U8(2).U8(layout.IoApicId).U8(0x20).U8(1).U32((uint)PcMemoryMap.IoApic).ToArray());
        for (int irq = 0; irq < 16; irq++)
        {
            const int LevelActiveHigh = 1 | (3 << 2);
            if (irq == 2)
                continue;
            int pin = irq == PcPorts.TimerIrq ? PcPorts.TimerGsi : irq;
            entries.Add(Interrupt(3, Vectored, irq == PcPorts.SciIrq ? LevelActiveHigh : 0, IsaBusId, irq, layout.IoApicId, pin));
        }

        for (int source = 0; source < 32 * 4; source++)
        {
            const int LevelActiveLow = 3 | (3 << 2);
            int link = ((source >> 2) + (source & 3) + layout.FirstPciLink) % PcPorts.PciGsiCount;
            entries.Add(Interrupt(3, Vectored, LevelActiveLow, PciBusId, source, layout.IoApicId, PcPorts.PciFirstGsi + link));
        }

        entries.Add(Interrupt(4, External, 0, IsaBusId, 0, EveryApic, 0));
        entries.Add(Interrupt(4, NonMaskable, 0, IsaBusId, 0, EveryApic, 1));
        TableWriter t = new TableWriter()
            .Text("PCMP", 4).U16(0).U8(4).U8(0).Text("DOPPEL", 8).Text("DOPPELPC", 12).U32(0).U16(0)
            .U16(entries.Count).U32((uint)PcMemoryMap.LocalApic).U16(0).U8(0).U8(0);
        foreach (byte[] entry in entries)
            _ = t.Raw(entry);
        return t.PatchU32(4, (uint)t.Length | (4 << 16)).Checksum(7, 0, t.Length).ToArray();
    }

    private static byte[] Interrupt(int entryType, int kind, int flags, int bus, int source, int apic, int pin) =>
        new TableWriter().U8(entryType).U8(kind).U16(flags).U8(bus).U8(source).U8(apic).U8(pin).ToArray();
}
