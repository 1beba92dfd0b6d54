using Doppel.Devices.Floppy;
using Doppel.Devices.Pc;
using Doppel.Machine.Bus;

namespace Doppel.Vmm.Firmware;

/// <summary>Builds the DSDT: what ACPI's namespace says about the machine.</summary>
internal static class Dsdt
{
    private const int PciSlots = 32;
    private const int PciPins = 4;
    private const ulong IsaSlot = 1;
    private const uint EcamLength = 1 << 20;

    internal static byte[] Build(MachineLayout layout)
    {
        AmlBuilder aml = new AmlBuilder()
            .Name(@"\_S5", AmlBuilder.Package(AmlBuilder.Integer(PcPorts.SleepTypeOff), AmlBuilder.Integer(0), AmlBuilder.Integer(0), AmlBuilder.Integer(0)))
            // _PIC tells which interrupt controllers the guest uses: 1 is the APICs.
            .Name(@"\PICF", AmlBuilder.Integer(0))
            .Method(@"\_PIC", 1, m => m.Store(AmlBuilder.Argument0, AmlBuilder.NamePath(@"\PICF")))
            .Scope(@"\_SB", sb =>
            {
                for (int cpu = 0; cpu < layout.CpuCount; cpu++)
                {
                    int id = cpu;
                    _ = sb.Device($"C{cpu:X3}", d => d.Name("_HID", AmlBuilder.Text("ACPI0007")).Name("_UID", AmlBuilder.Integer((ulong)id)));
                }

                _ = sb.Device("PCI0", d => AddPci(d, layout));
                AddBoard(sb, layout);
                if (layout.HasGeneration)
                    AddGeneration(sb);
                for (int i = 0; i < layout.VirtioMmioDevices; i++)
                    AddVirtio(sb, i);
            });
        if (layout.HasGeneration)
            _ = aml.Scope(@"\_GPE", gpe => gpe.Method($"_E{PcPorts.GenerationEvent:X2}", 0, m => m.Notify(@"\_SB.VGEN", 0x80)));
        return AcpiTables.Finish(AcpiTables.Begin("DSDT", 2).Raw(aml.ToArray()));
    }

    // The Virtual Machine Generation ID specification (Microsoft, 2012): drivers look for the compatible id.
    private static void AddGeneration(AmlBuilder sb) => sb.Device("VGEN", d => d
        .Name("_HID", AmlBuilder.Text("VMGENCTR"))
        .Name("_CID", AmlBuilder.Text("VM_Gen_Counter"))
        .Name("_DDN", AmlBuilder.Text("VM_Gen_Counter"))
        .Name("ADDR", AmlBuilder.Package(AmlBuilder.Integer(PcMemoryMap.GenerationId), AmlBuilder.Integer(0))));

    // The id that Linux knows for the MMIO transport.
    private static void AddVirtio(AmlBuilder sb, int number) => sb.Device($"VR{number:X2}", d => d
        .Name("_HID", AmlBuilder.Text("LNRO0005"))
        .Name("_UID", AmlBuilder.Integer((ulong)number))
        .Name("_CCA", AmlBuilder.Integer(1))
        .Name("_CRS", new AmlResources()
            .Memory32Fixed((uint)(PcMemoryMap.VirtioMmio + ((ulong)number * 0x1000)), 0x1000)
            .SharedInterrupt(PcPorts.VirtioMmioFirstGsi + (number % PcPorts.VirtioMmioGsiCount))
            .ToTerm()));

    private static void AddPci(AmlBuilder pci, MachineLayout layout)
    {
        AmlResources resources = new AmlResources()
            .BusNumbers(0, 0)
            .Io(PcPorts.PciConfigAddress, 8)
            .IoWindow(0, PcPorts.PciConfigAddress - 1)
            .IoWindow(PcPorts.PciConfigAddress + 8, 0xFFFF)
            .MemoryWindow(0xA0000, 0xBFFFF, isCacheable: true);
        AddWindows(resources, layout);
        _ = pci
            .Name("_HID", AmlBuilder.EisaId("PNP0A03"))
            .Name("_UID", AmlBuilder.Integer(0))
            .Name("_BBN", AmlBuilder.Integer(0))
            .Name("_CRS", resources.ToTerm())
            .Name("APRT", Routing(layout, link => PcPorts.PciFirstGsi + link))
            .Name("PPRT", Routing(layout, layout.LinkIrq))
            .Method("_PRT", 0, m => m
                .If(AmlBuilder.NamePath(@"\PICF"), then => then.Return(AmlBuilder.NamePath("APRT")))
                .Return(AmlBuilder.NamePath("PPRT")))
            .Device("ISA", isa =>
            {
                _ = isa.Name("_ADR", AmlBuilder.Integer(IsaSlot << 16));
                AddIsaDevices(isa, layout);
            });
    }

    // The window for BARs, without configuration space if that lies inside.
    private static void AddWindows(AmlResources resources, MachineLayout layout)
    {
        ulong? ecam = layout.EcamBase;
        uint first = (uint)layout.PciWindow;
        const uint Last = (uint)PcMemoryMap.PciWindowLast;
        if (ecam is { } start && start >= first && start <= Last)
        {
            if (start > first)
                _ = resources.MemoryWindow(first, (uint)start - 1, isCacheable: false);
            first = (uint)start + EcamLength;
        }

        if (first < Last)
            _ = resources.MemoryWindow(first, Last, isCacheable: false);
    }

    private static byte[] Routing(MachineLayout layout, Func<int, int> interruptOfLink)
    {
        var entries = new List<byte[]>();
        for (int slot = 0; slot < PciSlots; slot++)
        {
            for (int pin = 0; pin < PciPins; pin++)
            {
                int interrupt = interruptOfLink((slot + pin + layout.FirstPciLink) % PcPorts.PciGsiCount);
                entries.Add(AmlBuilder.Package(
                    AmlBuilder.Integer(((ulong)slot << 16) | 0xFFFF),
                    AmlBuilder.Integer((ulong)pin),
                    AmlBuilder.Integer(0),
                    AmlBuilder.Integer((ulong)interrupt)));
            }
        }

        return AmlBuilder.Package(entries);
    }

    private static void AddBoard(AmlBuilder sb, MachineLayout layout)
    {
        AmlResources board = new AmlResources()
            .Io(PcPorts.SystemControlA, 1)
            .Io(PcPorts.SmiCommand, 2)
            .Io(layout.Pm1Event, PcPorts.Pm1EventLength + PcPorts.Pm1ControlLength)
            .Io(layout.PmTimer, PcPorts.PmTimerLength)
            .Io(layout.Gpe0, PcPorts.Gpe0Length)
            .Memory32Fixed((uint)PcMemoryMap.IoApic, 0x1000)
            .Memory32Fixed((uint)PcMemoryMap.LocalApic, 0x1000);
        if (layout.EcamBase is { } ecam)
            _ = board.Memory32Fixed((uint)ecam, EcamLength);
        AddDevice(sb, "MBRD", "PNP0C02", board);
        if (layout.HasHpet)
            AddDevice(sb, "HPET", "PNP0103", new AmlResources().Memory32Fixed((uint)PcMemoryMap.Hpet, 0x400));
    }

    // Behind the bridge whose ports they use: beside it they would lay claim to what the host bridge hands on, which Windows and its like refuse.
    private static void AddIsaDevices(AmlBuilder isa, MachineLayout layout)
    {
        AddDevice(isa, "PIC", "PNP0000", new AmlResources().Io(PcPorts.MasterPic, 2).Io(PcPorts.SlavePic, 2).Io(PcPorts.Elcr, 2).Irq(2));
        AddDevice(isa, "TMR", "PNP0100", new AmlResources().Io(PcPorts.Pit, 4).Irq(PcPorts.TimerIrq));
        AddDevice(isa, "SPKR", "PNP0800", new AmlResources().Io(PcPorts.SystemControlB, 1));
        AddDevice(isa, "RTC", "PNP0B00", new AmlResources().Io(PcPorts.Rtc, 2).Irq(PcPorts.RtcIrq));
        if (layout.HasKeyboardController)
        {
            AddDevice(isa, "KBD", "PNP0303", new AmlResources().Io(PcPorts.KeyboardData, 1).Io(PcPorts.KeyboardCommand, 1).Irq(PcPorts.KeyboardIrq));
            AddDevice(isa, "MOU", "PNP0F13", new AmlResources().Irq(12));
        }

        // Systems that look for devices by ACPI alone find no diskette drive without this.
        if (layout.HasFloppy)
            AddDevice(isa, "FDC0", "PNP0700", new AmlResources().Io(FloppyController.FirstPort + 2, 4).Io(FloppyController.FirstPort + 7, 1).Irq(FloppyController.Irq).Dma(DmaPair.FloppyChannel));
        for (int i = 0; i < layout.SerialPorts; i++)
            AddDevice(isa, $"COM{i + 1}", "PNP0501", new AmlResources().Io(PcPorts.SerialPorts[i].Port, 8).Irq(PcPorts.SerialPorts[i].Irq), uid: i + 1);
        if (layout.HasParallelPort)
            AddDevice(isa, "LPT1", "PNP0400", new AmlResources().Io(PcPorts.Parallel1, 8).Irq(PcPorts.Parallel1Irq), uid: 1);
    }

    private static void AddDevice(AmlBuilder parent, string name, string id, AmlResources resources, int uid = 0) =>
        _ = parent.Device(name, d => d
            .Name("_HID", AmlBuilder.EisaId(id))
            .Name("_UID", AmlBuilder.Integer((ulong)uid))
            .Name("_CRS", resources.ToTerm()));
}
