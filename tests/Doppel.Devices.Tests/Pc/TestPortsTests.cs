using Doppel.Devices.Pc;
using Doppel.Machine.Bus;

namespace Doppel.Devices.Tests.Pc;

/// <summary>The ports by which test kernels talk, and the board's interrupt wiring.</summary>
public sealed class TestPortsTests
{
    [Fact]
    public void The_debug_port_passes_bytes_on_and_reads_as_itself()
    {
        List<byte> sunk = [];
        var port = new DebugPort(sunk.Add);
        port.Out(0xE9, 'd');
        Assert.Equal(0xE9, port.In(0xE9));
        Assert.Equal([(byte)'d'], sunk);
    }

    [Fact]
    public void The_exit_port_reports_an_odd_code_for_each_access_size()
    {
        List<int> codes = [];
        var port = new IsaDebugExit(codes.Add);
        port.Out(0xF4, 0x10);
        port.Out32(0xF4, 0);
        port.Out(0xF7, 1);
        Assert.Equal([0x21, 1, 3], codes);
    }

    [Fact]
    public void The_test_devices_latch_is_seen_in_both_windows_at_any_size()
    {
        var device = new PcTestDev(_ => DisconnectedLine.Instance, hasDebugPort: false);
        device.Out32(0xE0, 0x12345678);
        Assert.Equal(0x34, device.In(0xE2));
        Assert.Equal(0x12345678u, device.In32(0xE8));
        device.Out(0xE9, 0xAA);
        Assert.Equal(0x1234AA78u, device.In32(0xE0));
    }

    [Fact]
    public void The_test_device_drives_lines_flushes_pages_and_keeps_memory()
    {
        var lines = Enumerable.Range(0, 24).Select(_ => new FakeLine()).ToArray();
        List<ulong> pages = [];
        var device = new PcTestDev(i => lines[i], pages.Add);
        device.Out(0x200E, 1);
        Assert.True(lines[14].Level);
        device.Out(0x200E, 0);
        Assert.False(lines[14].Level);
        device.Out32(0xE4, 0x12345);
        Assert.Equal([0x12000UL], pages);
        IIoRegion memory = device.Memory[0].Region;
        memory.Write(0xFFF8, 8, 0x1122334455667788);
        Assert.Equal(0x11223344u, memory.Read(0xFFFC, 4));
    }

    [Fact]
    public void The_test_device_and_the_debug_port_fit_on_one_bus()
    {
        var bus = new IoBus("port", 65536, new Lock());
        bus.Map(new PcTestDev(_ => DisconnectedLine.Instance).Ports);
        bus.Map(new DebugPort(_ => { }).Ports);
        bus.Map(new IsaDebugExit(_ => { }).Ports);
        Assert.Equal(0xE9u, bus.Read(0xE9, 1));
    }

    [Fact]
    public void An_isa_interrupt_reaches_both_controllers_and_the_timer_enters_the_ioapic_at_2()
    {
        var pic = Enumerable.Range(0, 16).Select(_ => new FakeLine()).ToArray();
        var ioApic = Enumerable.Range(0, 24).Select(_ => new FakeLine()).ToArray();
        var board = new IsaInterrupts(i => pic[i], i => ioApic[i]);
        board.Line(0).Set(true);
        Assert.True(pic[0].Level && ioApic[2].Level);
        Assert.False(ioApic[0].Level);
        board.Line(4).Set(true);
        Assert.True(pic[4].Level && ioApic[4].Level);
        board.Line(20).Set(true);
        Assert.True(ioApic[20].Level);
        board.Line(0).Set(false);
        board.Line(2).Set(true);
        Assert.False(ioApic[2].Level || pic[2].Level);
    }

    [Fact]
    public void Pci_links_share_inputs_of_the_8259_pair()
    {
        var pic = Enumerable.Range(0, 16).Select(_ => new FakeLine()).ToArray();
        var ioApic = Enumerable.Range(0, 24).Select(_ => new FakeLine()).ToArray();
        var board = new IsaInterrupts(i => pic[i], i => ioApic[i]);
        board.Line(16).Set(true);
        board.Line(18).Set(true);
        Assert.True(pic[10].Level && ioApic[16].Level && ioApic[18].Level);
        Assert.False(pic[11].Level || ioApic[10].Level);
        board.Line(16).Set(false);
        Assert.True(pic[10].Level);
        board.Line(18).Set(false);
        Assert.False(pic[10].Level);
        board.Line(19).Set(true);
        Assert.True(pic[11].Level);
    }

    [Fact]
    public void The_diagnostic_port_keeps_the_last_code()
    {
        var ports = new HostPorts();
        ports.Out(0x80, 0x42);
        Assert.Equal(0x42, ports.PostCode);
        ports.Out(0x87, 0x12);
        Assert.Equal(0x12, ports.In(0x87));
    }

    [Fact]
    public void Firmware_items_and_files_are_read_byte_by_byte()
    {
        FirmwareConfiguration device = new FirmwareConfiguration()
            .Add(FirmwareConfiguration.CpuCount, 3)
            .AddFile("opt/test", [7, 8, 9]);
        Assert.Equal([(byte)'Q', (byte)'E', (byte)'M', (byte)'U', 0], Item(device, 0, 5));
        Assert.Equal([3, 0, 0], Item(device, FirmwareConfiguration.CpuCount, 3));
        byte[] directory = Item(device, 0x19, 4 + 64);
        Assert.Equal([0, 0, 0, 1, 0, 0, 0, 3, 0, 0x20], directory[..10]);
        Assert.Equal("opt/test"u8.ToArray(), directory[12..20]);
        Assert.Equal([7, 8, 9, 0], Item(device, 0x20, 4));
        Assert.Equal([0, 0], Item(device, 0x4444, 2));
    }

    private static byte[] Item(FirmwareConfiguration device, int key, int length)
    {
        device.Write(0, 2, (ulong)key);
        return [.. Enumerable.Range(0, length).Select(_ => (byte)device.Read(1, 1))];
    }
}
