using Doppel.Machine.Bus;
using Doppel.Machine.Memory;
using Doppel.Vmm.Boot;
using Doppel.Vmm.Firmware;

namespace Doppel.Vmm.Tests.Firmware;

public sealed class AcpiTests
{
    [Fact]
    public void The_root_pointer_is_found_by_a_search_and_both_sums_are_zero()
    {
        using var f = new FirmwareFixture(new MachineLayout());
        ulong rsdp = f.Search("RSD PTR ");
        Assert.Equal(f.Addresses.Rsdp, rsdp);
        Assert.Equal(2, f.U8(rsdp + 15));
        Assert.Equal(0, f.Sum(rsdp, 20));
        Assert.Equal(0, f.Sum(rsdp, 36));
        Assert.Equal(f.Addresses.Xsdt, f.U64(rsdp + 24));
    }

    [Theory]
    [InlineData(1, null)]
    [InlineData(255, 0xE000_0000ul)]
    public void Every_table_has_a_zero_sum_and_both_roots_list_the_same(int cpus, ulong? ecam)
    {
        using var f = new FirmwareFixture(new MachineLayout { CpuCount = cpus, EcamBase = ecam });
        ulong rsdt = f.U32(f.Addresses.Rsdp + 16), xsdt = f.Addresses.Xsdt;
        Assert.Equal("RSDT", f.Text(rsdt, 4));
        Assert.Equal("XSDT", f.Text(xsdt, 4));
        ulong[] old = [.. Enumerable.Range(0, (int)(f.U32(rsdt + 4) - 36) / 4).Select(i => (ulong)f.U32(rsdt + 36 + (ulong)(4 * i)))];
        ulong[] tables = [.. Enumerable.Range(0, (int)(f.U32(xsdt + 4) - 36) / 8).Select(i => f.U64(xsdt + 36 + (ulong)(8 * i)))];
        Assert.Equal(tables, old);
        ulong dsdt = f.U64(f.Table("FACP") + 140);
        foreach (ulong table in tables.Append(rsdt).Append(xsdt).Append(dsdt))
        {
            int length = (int)f.U32(table + 4);
            Assert.True(length >= 36);
            Assert.Equal(0, f.Sum(table, length));
            Assert.InRange(table + (ulong)length, 0xE0000ul, 0x100000ul);
            Assert.Equal("DOPPEL", f.Text(table + 10, 6));
        }

        string[] expected = ecam is null ? ["FACP", "APIC"] : ["FACP", "APIC", "MCFG"];
        Assert.Equal(expected, tables.Select(t => f.Text(t, 4)));
    }

    [Fact]
    public void The_fadt_names_the_ports_of_the_devices()
    {
        using var f = new FirmwareFixture(new MachineLayout());
        ulong fadt = f.Table("FACP");
        Assert.Equal(276u, f.U32(fadt + 4));
        Assert.Equal(6, f.U8(fadt + 8));
        Assert.Equal(f.U64(fadt + 140), f.U32(fadt + 40));
        ulong facs = f.U32(fadt + 36);
        Assert.Equal(0ul, facs % 64);
        Assert.Equal("FACS", f.Text(facs, 4));
        Assert.Equal(64u, f.U32(facs + 4));
        Assert.Equal(PcPorts.SciIrq, f.U16(fadt + 46));
        Assert.Equal(PcPorts.SmiCommand, f.U32(fadt + 48));
        Assert.Equal(PcPorts.AcpiEnable, f.U8(fadt + 52));
        Assert.Equal(PcPorts.AcpiDisable, f.U8(fadt + 53));
        Assert.Equal(PcPorts.Pm1Event, f.U32(fadt + 56));
        Assert.Equal(PcPorts.Pm1Control, f.U32(fadt + 64));
        Assert.Equal(PcPorts.PmTimer, f.U32(fadt + 76));
        Assert.Equal(PcPorts.Gpe0, f.U32(fadt + 80));
        Assert.Equal(0x32, f.U8(fadt + 108));
        const uint Wbinvd = 1, C1 = 4, Timer32 = 1 << 8, Reset = 1 << 10, HardwareReduced = 1 << 20;
        Assert.Equal(Wbinvd | C1 | Timer32 | Reset, f.U32(fadt + 112) & (Wbinvd | C1 | Timer32 | Reset | HardwareReduced));
        AssertPort(f, fadt + 116, PcPorts.ResetControl, 8);
        Assert.Equal(PcPorts.ResetValue, f.U8(fadt + 128));
        AssertPort(f, fadt + 148, PcPorts.Pm1Event, 32);
        AssertPort(f, fadt + 172, PcPorts.Pm1Control, 16);
        AssertPort(f, fadt + 208, PcPorts.PmTimer, 32);
        AssertPort(f, fadt + 220, PcPorts.Gpe0, 32);
    }

    [Theory]
    [InlineData(false, false, 0x5)]
    [InlineData(true, false, 0x7)]
    [InlineData(false, true, 0x1)]
    public void The_boot_flags_follow_the_layout(bool keyboard, bool vga, int expected)
    {
        using var f = new FirmwareFixture(new MachineLayout { HasKeyboardController = keyboard, HasVga = vga });
        Assert.Equal(expected, f.U16(f.Table("FACP") + 109));
    }

    [Fact]
    public void The_madt_lists_the_apics_and_sends_the_timer_to_input_2()
    {
        using var f = new FirmwareFixture(new MachineLayout { CpuCount = 4, IoApicId = 9 });
        ulong madt = f.Table("APIC");
        Assert.Equal((uint)PcMemoryMap.LocalApic, f.U32(madt + 36));
        Assert.Equal(1u, f.U32(madt + 40));
        var found = new List<string>();
        ulong end = madt + f.U32(madt + 4);
        ulong at = madt + 44;
        for (; at < end; at += f.U8(at + 1))
            found.Add(Convert.ToHexString(f.Bytes(at, f.U8(at + 1))));
        Assert.Equal(end, at);
        Assert.Equal(
            [
                "0008000001000000",
                "0008010101000000",
                "0008020201000000",
                "0008030301000000",
                "010C09000000C0FE00000000",
                "020A000002000000" + "0000",
                "020A000909000000" + "0D00",
                "0406FF000001",
            ],
            found);
    }

    [Fact]
    public void The_mcfg_names_configuration_space()
    {
        using var f = new FirmwareFixture(new MachineLayout { EcamBase = 0xE000_0000 });
        ulong mcfg = f.Table("MCFG");
        Assert.Equal(60u, f.U32(mcfg + 4));
        Assert.Equal(0xE000_0000ul, f.U64(mcfg + 44));
        Assert.Equal(0u, f.U32(mcfg + 52));
    }

    [Fact]
    public void The_namespace_has_power_off_processors_bridge_and_legacy_devices()
    {
        AmlReader aml = Namespace(new MachineLayout { CpuCount = 2 });
        Assert.Equal((ulong)PcPorts.SleepTypeOff, Assert.IsType<List<object>>(aml.Objects[@"\_S5_"])[0]);
        Assert.Equal("ACPI0007", aml.Objects[@"\_SB_.C001._HID"]);
        Assert.Equal(1ul, aml.Objects[@"\_SB_.C001._UID"]);
        Assert.False(aml.Objects.ContainsKey(@"\_SB_.C002"));
        Assert.Equal(0x030AD041ul, aml.Objects[@"\_SB_.PCI0._HID"]);
        Assert.Equal("method 0", aml.Objects[@"\_SB_.PCI0._PRT"]);
        Assert.Equal("method 1", aml.Objects[@"\_PIC"]);
        Assert.Equal(0x0105D041ul, aml.Objects[@"\_SB_.PCI0.ISA_.COM1._HID"]);
        Assert.Equal(0x0105D041ul, aml.Objects[@"\_SB_.PCI0.ISA_.COM2._HID"]);
        Assert.Equal(0x000BD041ul, aml.Objects[@"\_SB_.PCI0.ISA_.RTC_._HID"]);
        Assert.Equal("4701F803F8030108" + "221000" + "7900", Convert.ToHexString((byte[])aml.Objects[@"\_SB_.PCI0.ISA_.COM1._CRS"]));
        Assert.False(aml.Objects.ContainsKey(@"\_SB_.PCI0.ISA_.KBD_"));
    }

    [Fact]
    public void The_generation_identifier_is_announced_with_its_address_and_event()
    {
        AmlReader aml = Namespace(new MachineLayout());
        Assert.Equal("VM_Gen_Counter", aml.Objects[@"\_SB_.VGEN._CID"]);
        Assert.Equal("VM_Gen_Counter", aml.Objects[@"\_SB_.VGEN._DDN"]);
        Assert.Equal([PcMemoryMap.GenerationId, 0ul], Assert.IsType<List<object>>(aml.Objects[@"\_SB_.VGEN.ADDR"]).Cast<ulong>());
        Assert.Equal("method 0", aml.Objects[@"\_GPE._E05"]);
        Assert.Equal(0ul, PcMemoryMap.GenerationId % 4096);
    }

    [Fact]
    public void Virtio_devices_outside_PCI_have_their_pages_and_interrupts()
    {
        AmlReader aml = Namespace(new MachineLayout { VirtioMmioDevices = 6 });
        Assert.Equal("LNRO0005", aml.Objects[@"\_SB_.VR00._HID"]);
        Assert.Equal(5ul, aml.Objects[@"\_SB_.VR05._UID"]);
        Assert.Equal("86090001" + "0050D1FE" + "00100000" + "890600" + "09" + "01" + "15000000" + "7900", Convert.ToHexString((byte[])aml.Objects[@"\_SB_.VR05._CRS"]));
        Assert.False(aml.Objects.ContainsKey(@"\_SB_.VR06"));
        Assert.False(Namespace(new MachineLayout()).Objects.ContainsKey(@"\_SB_.VR00"));
    }

    [Fact]
    public void Devices_that_the_machine_lacks_are_not_in_the_namespace()
    {
        AmlReader all = Namespace(new MachineLayout { SerialPorts = 4 });
        Assert.Equal("4701E803E8030108" + "221000" + "7900", Convert.ToHexString((byte[])all.Objects[@"\_SB_.PCI0.ISA_.COM3._CRS"]));
        Assert.Equal("4701E802E8020108" + "220800" + "7900", Convert.ToHexString((byte[])all.Objects[@"\_SB_.PCI0.ISA_.COM4._CRS"]));
        Assert.Equal(4ul, all.Objects[@"\_SB_.PCI0.ISA_.COM4._UID"]);
        AmlReader aml = Namespace(new MachineLayout { SerialPorts = 1, HasKeyboardController = true });
        Assert.True(aml.Objects.ContainsKey(@"\_SB_.PCI0.ISA_.COM1"));
        Assert.False(aml.Objects.ContainsKey(@"\_SB_.PCI0.ISA_.COM2"));
        Assert.True(aml.Objects.ContainsKey(@"\_SB_.PCI0.ISA_.KBD_"));
        Assert.False(aml.Objects.ContainsKey(@"\_SB_.PCI0.ISA_.FDC0"));
    }

    [Fact]
    public void A_diskette_controller_has_its_ports_interrupt_and_channel_behind_the_ISA_bridge()
    {
        AmlReader aml = Namespace(new MachineLayout { HasFloppy = true });
        Assert.Equal(0x10000ul, aml.Objects[@"\_SB_.PCI0.ISA_._ADR"]);
        Assert.Equal(0x0007D041ul, aml.Objects[@"\_SB_.PCI0.ISA_.FDC0._HID"]);
        Assert.Equal("4701F203F2030104" + "4701F703F7030101" + "224000" + "2A0400" + "7900", Convert.ToHexString((byte[])aml.Objects[@"\_SB_.PCI0.ISA_.FDC0._CRS"]));
    }

    [Fact]
    public void A_parallel_port_has_its_ports_and_interrupt_behind_the_ISA_bridge()
    {
        AmlReader aml = Namespace(new MachineLayout { HasParallelPort = true });
        Assert.Equal(0x0004D041ul, aml.Objects[@"\_SB_.PCI0.ISA_.LPT1._HID"]);
        Assert.Equal("4701780378030108" + "228000" + "7900", Convert.ToHexString((byte[])aml.Objects[@"\_SB_.PCI0.ISA_.LPT1._CRS"]));
        Assert.False(Namespace(new MachineLayout()).Objects.ContainsKey(@"\_SB_.PCI0.ISA_.LPT1"));
    }

    [Theory]
    [InlineData("APRT", 16, 17, 18, 19)]
    [InlineData("PPRT", 10, 11, 10, 11)]
    public void Every_slot_routes_its_four_pins_in_turn(string table, params int[] interrupts)
    {
        AmlReader aml = Namespace(new MachineLayout());
        List<object> entries = Assert.IsType<List<object>>(aml.Objects[$@"\_SB_.PCI0.{table}"]);
        Assert.Equal(128, entries.Count);
        for (int i = 0; i < entries.Count; i++)
        {
            int slot = i / 4, pin = i % 4;
            Assert.Equal([((ulong)slot << 16) | 0xFFFF, (ulong)pin, 0ul, (ulong)interrupts[(slot + pin) % 4]], Assert.IsType<List<object>>(entries[i]).Cast<ulong>());
        }
    }

    [Fact]
    public void The_bridges_window_leaves_out_configuration_space()
    {
        AmlReader whole = Namespace(new MachineLayout()), split = Namespace(new MachineLayout { EcamBase = 0xD000_0000 });
        Assert.Equal([(0xA0000u, 0xBFFFFu), (0xC000_0000u, 0xFEBF_FFFFu)], MemoryWindows(whole));
        Assert.Equal([(0xA0000u, 0xBFFFFu), (0xC000_0000u, 0xCFFF_FFFFu), (0xD010_0000u, 0xFEBF_FFFFu)], MemoryWindows(split));
    }

    [Fact]
    public void All_tables_are_inside_the_area_that_the_memory_map_reserves()
    {
        using var f = new FirmwareFixture(new MachineLayout { CpuCount = 255 });
        MemoryRange area = MemoryMap.ForPc(f.Memory).Ranges.Single(r => r.Start <= f.Addresses.Rsdp && f.Addresses.Rsdp < r.End);
        Assert.Equal(MemoryKind.Reserved, area.Kind);
        Assert.InRange(f.Addresses.End, area.Start, area.End);
    }

    [Fact]
    public void Impossible_layouts_and_too_little_memory_are_refused()
    {
        using var memory = new GuestMemory(1 << 20);
        Assert.Throws<ArgumentOutOfRangeException>(() => FirmwareTables.Write(memory, new MachineLayout { CpuCount = 0 }));
        Assert.Throws<ArgumentOutOfRangeException>(() => FirmwareTables.Write(memory, new MachineLayout { SerialPorts = 5 }));
        Assert.Throws<ArgumentOutOfRangeException>(() => FirmwareTables.Write(memory, new MachineLayout { EcamBase = 0xE000_1000 }));
        using var small = new GuestMemory(640 << 10);
        Assert.Throws<BootException>(() => FirmwareTables.Write(small, new MachineLayout()));
    }

    private static void AssertPort(FirmwareFixture f, ulong address, ushort port, int bits)
    {
        Assert.Equal(1, f.U8(address));
        Assert.Equal(bits, f.U8(address + 1));
        Assert.Equal(0, f.U8(address + 2));
        Assert.Equal(port, f.U64(address + 4));
    }

    private static AmlReader Namespace(MachineLayout layout)
    {
        using var f = new FirmwareFixture(layout);
        ulong dsdt = f.U64(f.Table("FACP") + 140);
        Assert.Equal("DSDT", f.Text(dsdt, 4));
        return AmlReader.Read(f.Bytes(dsdt, (int)f.U32(dsdt + 4)), start: 36);
    }

    private static List<(uint First, uint Last)> MemoryWindows(AmlReader aml)
    {
        byte[] crs = (byte[])aml.Objects[@"\_SB_.PCI0._CRS"];
        var windows = new List<(uint, uint)>();
        int at = 0;
        while (crs[at] != 0x79)
        {
            bool isLarge = (crs[at] & 0x80) != 0;
            if (crs[at] == 0x87)
            {
                uint first = BitConverter.ToUInt32(crs, at + 10), last = BitConverter.ToUInt32(crs, at + 14);
                Assert.Equal(last - first + 1, BitConverter.ToUInt32(crs, at + 22));
                windows.Add((first, last));
            }

            at += isLarge ? 3 + BitConverter.ToUInt16(crs, at + 1) : 1 + (crs[at] & 7);
        }

        Assert.Equal(crs.Length, at + 2);
        return windows;
    }
}
