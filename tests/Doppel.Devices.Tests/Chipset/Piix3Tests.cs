using Doppel.Devices.Chipset;
using Doppel.Devices.Pc;
using Doppel.Devices.Pci;
using Doppel.Machine.Bus;
using Doppel.Machine.Interrupts;

namespace Doppel.Devices.Tests.Chipset;

/// <summary>Interrupt routing of the PIIX3, and the registers that the PIIX4's power management function places.</summary>
public sealed class Piix3Tests
{
    private readonly FakeLine[] _pic = [.. Enumerable.Range(0, 16).Select(_ => new FakeLine())];
    private readonly FakeLine[] _ioApic = [.. Enumerable.Range(0, 24).Select(_ => new FakeLine())];
    private readonly IsaInterrupts _wires;
    private readonly PciIsaBridge _bridge;
    private readonly PciBus _bus;

    public Piix3Tests()
    {
        _wires = new IsaInterrupts(irq => _pic[irq], pin => _ioApic[pin], out PirqRouter router);
        _bus = new PciBus(_wires.Line, 3);
        _bridge = new PciIsaBridge(router, hasFunctions: true);
        _bus.Add(PciIsaBridge.DefaultAddress, _bridge);
    }

    [Fact]
    public void The_bridge_has_further_functions()
    {
        Assert.Equal(0x80u, _bus.ReadConfig(PciIsaBridge.DefaultAddress, 0x0E, 1));
        Assert.Equal(0x7000_8086u, _bus.ReadConfig(PciIsaBridge.DefaultAddress, 0, 4));
    }

    [Theory]
    [InlineData(1, 1, 0)]
    [InlineData(1, 4, 3)]
    [InlineData(2, 1, 1)]
    [InlineData(3, 1, 2)]
    [InlineData(5, 2, 1)]
    public void Links_are_counted_from_slot_1_on(int slot, int pin, int link) => Assert.Equal(link, _bus.LinkOf(slot, pin));

    [Fact]
    public void A_link_drives_the_interrupt_that_its_register_names()
    {
        IInterruptLine link = _wires.Line(PcPorts.PciFirstGsi + 1);
        link.Set(true);
        Assert.True(_ioApic[17].Level);
        Assert.DoesNotContain(_pic, line => line.Level);
        _bridge.WriteConfig(0x61, 1, 11);
        Assert.True(_pic[11].Level && _ioApic[11].Level);
        _bridge.WriteConfig(0x61, 1, 5);
        Assert.True(_pic[5].Level && !_pic[11].Level);
        _bridge.WriteConfig(0x61, 1, 0x85);
        Assert.False(_pic[5].Level);
        _bridge.WriteConfig(0x61, 1, 5);
        link.Set(false);
        Assert.False(_pic[5].Level || _ioApic[17].Level);
    }

    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(8)]
    [InlineData(13)]
    public void Reserved_interrupts_are_driven_by_no_link(int irq)
    {
        _bridge.WriteConfig(0x60, 1, (uint)irq);
        _wires.Line(PcPorts.PciFirstGsi).Set(true);
        Assert.DoesNotContain(_pic, line => line.Level);
    }

    [Fact]
    public void Links_and_ISA_devices_share_an_interrupt()
    {
        _bridge.WriteConfig(0x60, 2, 0x0A0A);
        IInterruptLine first = _wires.Line(PcPorts.PciFirstGsi), second = _wires.Line(PcPorts.PciFirstGsi + 1), isa = _wires.Line(10);
        first.Set(true);
        second.Set(true);
        isa.Set(true);
        first.Set(false);
        isa.Set(false);
        Assert.True(_pic[10].Level);
        second.Set(false);
        Assert.False(_pic[10].Level);
    }

    [Fact]
    public void Firmware_places_the_registers_of_power_management()
    {
        var gate = new Lock();
        var ports = new IoBus("port", 65536, gate);
        var acpi = new AcpiPm(new FakeClock(), new FakeLine(), () => { }, isRelocatable: true);
        ports.Map(((IDevice)acpi).Ports);
        var function = new Piix4PowerManagement(acpi, ports, new IoBus("mmio", 1UL << 36, gate));
        _bus.Add(Piix4PowerManagement.Address, function);
        Assert.False(ports.IsMapped(0x600));
        _bus.WriteConfig(Piix4PowerManagement.Address, 0x40, 4, 0x601);
        Assert.False(ports.IsMapped(0x600));
        _bus.WriteConfig(Piix4PowerManagement.Address, 0x80, 1, 1);
        Assert.Equal((ushort?)0x600, acpi.Base);
        ports.Write(0x602, 2, 0x0100);
        Assert.Equal(0x0100u, ports.Read(0x602, 2));
        _bus.WriteConfig(Piix4PowerManagement.Address, 0x40, 4, 0xB001);
        Assert.False(ports.IsMapped(0x600));
        Assert.Equal(0x0100u, ports.Read(0xB002, 2));
        Assert.Equal(0u, ports.Read(0xB00C, 4));
        // Where there are others nothing answers, and they go on.
        _bus.WriteConfig(Piix4PowerManagement.Address, 0x40, 4, 0x0081);
        Assert.Equal(0u, ports.Read(PcPorts.SmiCommand, 1));
    }

    [Fact]
    public void Nobody_is_on_the_management_bus()
    {
        var gate = new Lock();
        var ports = new IoBus("port", 65536, gate);
        var function = new Piix4PowerManagement(new AcpiPm(new FakeClock(), new FakeLine(), () => { }, isRelocatable: true), ports, new IoBus("mmio", 1UL << 36, gate));
        function.WriteConfig(0x90, 4, 0x701);
        function.WriteConfig(0xD2, 1, 0x09);
        ports.Write(0x704, 1, 0xA1);
        ports.Write(0x702, 1, 0x48);
        Assert.Equal(0x04u, ports.Read(0x700, 1));
        Assert.Equal(0x08u, ports.Read(0x702, 1));
        ports.Write(0x700, 1, 0x04);
        Assert.Equal(0u, ports.Read(0x700, 1));
    }
}
