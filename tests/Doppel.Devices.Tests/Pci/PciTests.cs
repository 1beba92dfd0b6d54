using Doppel.Devices.Pc;
using Doppel.Devices.Pci;
using Doppel.Devices.Tests.Conformance;
using Doppel.Machine.Bus;

namespace Doppel.Devices.Tests.Pci;

/// <summary>Configuration mechanism #1, the window of PCI Express, and functions with base address registers.</summary>
public sealed class PciTests
{
    private readonly IoBus _ports;
    private readonly IoBus _memory;
    private readonly FakeLine[] _links = [.. Enumerable.Range(0, 24).Select(_ => new FakeLine())];
    private readonly PciBus _bus;
    private readonly SamplePciFunction _device;
    private int _resets;

    public PciTests()
    {
        var gate = new Lock();
        _ports = new IoBus("port", 65536, gate);
        _memory = new IoBus("mmio", 1UL << 40, gate);
        _bus = new PciBus(i => _links[i]);
        var bridge = new PciHostBridge(_bus, new ResetControlRegister(() => _resets++, () => { }));
        _ports.Map(bridge.Ports);
        _bus.Add(PciIsaBridge.DefaultAddress, new PciIsaBridge());
        _device = new SamplePciFunction(_ports, _memory);
        _bus.Add(new PciAddress(0, 3, 0), _device);
    }

    [Fact]
    public void The_host_bridge_and_the_isa_bridge_are_found()
    {
        Assert.Equal(0x12378086u, Read(0, 0));
        Assert.Equal(0x06000002u, Read(0, 8));
        Assert.Equal(0x70008086u, Read(1, 0));
        Assert.Equal(0x0601, (int)(Read(1, 8) >> 16));
        Assert.Equal(0xFFFFFFFFu, Read(2, 0));
    }

    [Fact]
    public void A_scan_of_the_whole_space_finds_three_functions()
    {
        int found = 0;
        for (uint id = 0; id < 65536; id++)
        {
            _ports.Write(0xCF8, 4, 0x80000000 | (id << 8));
            found += _ports.Read(0xCFC, 4) != 0xFFFFFFFF ? 1 : 0;
        }

        Assert.Equal(3, found);
        Assert.Equal(["00:00.0", "00:01.0", "00:03.0"], _bus.Functions.Select(f => f.Address.ToString()));
    }

    [Fact]
    public void The_address_register_takes_doublewords_only()
    {
        _ports.Write(0xCFB, 1, 1);
        _ports.Write(0xCF8, 4, 0x80000000);
        Assert.Equal(0x80000000u, _ports.Read(0xCF8, 4));
        _ports.Write(0xCF8, 2, 0x1234);
        _ports.Write(0xCF8, 1, 0xFF);
        Assert.Equal(0x80000000u, _ports.Read(0xCF8, 4));
        _ports.Write(0xCF8, 4, 0xFFFFFFFF);
        Assert.Equal(0x80FFFFFCu, _ports.Read(0xCF8, 4));
        _ports.Write(0xCF8, 4, 0);
        Assert.Equal(0xFFFFFFFFu, _ports.Read(0xCFC, 4));
    }

    [Fact]
    public void The_data_window_gives_bytes_and_words()
    {
        _ports.Write(0xCF8, 4, 0x80000000);
        Assert.Equal(0x86u, _ports.Read(0xCFC, 1));
        Assert.Equal(0x1237u, _ports.Read(0xCFE, 2));
        Assert.Equal(0x3780u, _ports.Read(0xCFD, 2));
        Assert.Equal(0x12u, _ports.Read(0xCFF, 1));
    }

    [Fact]
    public void A_byte_at_cf9_reaches_the_reset_register()
    {
        _ports.Write(0xCF8, 4, 0x80000600);
        Assert.Equal(0, _resets);
        _ports.Write(0xCF9, 1, 6);
        Assert.Equal(1, _resets);
        Assert.Equal(6u, _ports.Read(0xCF9, 1));
        Assert.Equal(0x80000600u, _ports.Read(0xCF8, 4));
    }

    [Fact]
    public void Base_address_registers_tell_their_sizes()
    {
        for (int i = 0; i < 6; i++)
            Write(3, 0x10 + (4 * i), 0xFFFFFFFF);
        Assert.Equal(0xFFFFFFE1u, Read(3, 0x10));
        Assert.Equal(0xFFFFF000u, Read(3, 0x14));
        Assert.Equal(0xFFFF000Cu, Read(3, 0x18));
        Assert.Equal(0xFFFFFFFFu, Read(3, 0x1C));
        Assert.Equal(0u, Read(3, 0x20));
    }

    [Fact]
    public void Regions_appear_where_the_guest_puts_them_while_decoding_is_on()
    {
        Write(3, 0x10, 0xC000);
        Write(3, 0x14, 0xE000_0000);
        Write(3, 0x18, 0x0001_0000);
        Write(3, 0x1C, 0x10);
        Assert.Equal(0xFFu, _ports.Read(0xC000, 1));
        Write(3, 4, 3);
        Assert.Equal(0x11u, _ports.Read(0xC01F, 1));
        Assert.Equal(0x22u, _memory.Read(0xE000_0FFF, 1));
        Assert.Equal(0x33u, _memory.Read(0x10_0001_0000, 1));
        Write(3, 0x14, 0xE100_0000);
        Assert.Equal(0xFFu, _memory.Read(0xE000_0000, 1));
        Assert.Equal(0x22u, _memory.Read(0xE100_0000, 1));
        Write(3, 4, 0);
        Assert.Equal(0xFFu, _memory.Read(0xE100_0000, 1));
        Assert.Null(_device.MappedAt(_device.Memory32));
    }

    [Fact]
    public void A_region_placed_over_another_device_stays_away()
    {
        Write(3, 0x10, 0xCE0);
        Write(3, 4, 1);
        Assert.Null(_device.MappedAt(_device.Ports4));
        Assert.Equal(0x12378086u, Read(0, 0));
        Write(3, 0x10, 0xFFFFFFFF);
        Assert.Null(_device.MappedAt(_device.Ports4));
        Write(3, 0x10, 0xD000);
        Assert.Equal(0xD000UL, _device.MappedAt(_device.Ports4));
    }

    [Fact]
    public void The_interrupt_pin_is_swizzled_by_slot_and_can_be_disabled()
    {
        _device.SetInterrupt(true);
        Assert.True(_links[PcPorts.PciFirstGsi + 3].Level);
        Assert.Equal(8u, (Read(3, 4) >> 16) & 8);
        Write(3, 4, 0x400);
        Assert.False(_links[PcPorts.PciFirstGsi + 3].Level);
        Write(3, 4, 0);
        Assert.True(_links[PcPorts.PciFirstGsi + 3].Level);
        _device.SetInterrupt(false);
        Assert.False(_links[PcPorts.PciFirstGsi + 3].Level);
    }

    [Fact]
    public void A_shared_line_is_high_while_any_device_drives_it()
    {
        var line = new FakeLine();
        var shared = new WiredOr(line);
        var first = shared.AddInput();
        var second = shared.AddInput();
        first.Set(true);
        second.Set(true);
        second.Set(true);
        first.Set(false);
        Assert.True(line.Level);
        second.Set(false);
        Assert.False(line.Level);
    }

    [Fact]
    public void Capabilities_are_linked_and_announced()
    {
        Assert.Equal(0x10u, (Read(3, 4) >> 16) & 0x10);
        Assert.Equal((uint)_device.Capability, Read(3, 0x34) & 0xFF);
        Assert.Equal(0x0009u, Read(3, _device.Capability) & 0xFFFF);
    }

    [Fact]
    public void Status_bits_clear_by_writing_ones_and_identity_is_read_only()
    {
        _device.Config.Set(PciConfigSpace.Status, 2, 0xA010);
        Write(3, 4, 0x2000_0000);
        Assert.Equal(0x8010u, Read(3, 4) >> 16);
        Write(3, 0, 0);
        Assert.Equal(0x10051AF4u, Read(3, 0));
    }

    [Fact]
    public void The_express_window_shows_the_same_functions()
    {
        var window = new PciEcam(_bus);
        Assert.Equal(0x12378086u, window.Read(0, 4));
        Assert.Equal(0x1005u, window.Read((3 << 15) + 2, 2));
        Assert.Equal(0xFFFFFFFFFFFFFFFFul, window.Read(2 << 15, 8));
        window.Write((3 << 15) + 0x3C, 1, 11);
        Assert.Equal(11u, Read(3, 0x3C) & 0xFF);
    }

    [Fact]
    public void A_taken_place_is_refused()
    {
        var e = Assert.Throws<InvalidOperationException>(() => _bus.Add(new PciAddress(0, 3, 0), new PciIsaBridge()));
        Assert.Contains("00:03.0", e.Message, StringComparison.Ordinal);
    }

    private uint Read(int slot, int offset)
    {
        _ports.Write(0xCF8, 4, 0x80000000u | ((uint)slot << 11) | ((uint)offset & 0xFC));
        return (uint)_ports.Read(0xCFC, 4);
    }

    private void Write(int slot, int offset, uint value)
    {
        _ports.Write(0xCF8, 4, 0x80000000u | ((uint)slot << 11) | ((uint)offset & 0xFC));
        _ports.Write(0xCFC, 4, value);
    }
}
